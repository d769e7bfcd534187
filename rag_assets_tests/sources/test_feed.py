import pytest

from rag_assets.config import FeedConfig, HttpSettings
from rag_assets.errors import SourceError
from rag_assets.sources.feed import FeedSource
from rag_assets.sources.http import HttpClient
from rag_assets_tests.sources.site import Answer, serving

HTTP = HttpSettings(allow_private=True)

RSS = """<?xml version="1.0"?><rss xmlns:content="http://purl.org/rss/1.0/modules/content/"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>News</title>
<item><guid>g1</guid><title>Bridge  to close</title><link>/a/1</link><dc:creator>Vrba</dc:creator>
<pubDate>Sat, 18 Apr 2026 08:00:00 +0200</pubDate><description>Short.</description>
<content:encoded><![CDATA[<p>The whole text.</p>]]></content:encoded></item>
<item><link>/a/2</link><title>No guid</title></item><item><title>Neither</title></item>
</channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>tag:x,2026:9</id><title>Atom</title>
<link rel="self" href="/self"/><link href="/a/9"/><updated>2026-05-01T10:00:00Z</updated>
<author><name>Ines</name></author><summary>Sum.</summary></entry></feed>"""


@pytest.fixture
def site():
    with serving() as served:
        yield served


@pytest.fixture
def open_feed(site, tmp_path):
    def opened(*feeds, **settings):
        config = FeedConfig(
            name="f",
            type="feed",
            feeds=[site.url(feed) for feed in feeds],
            path=str(tmp_path),
            **settings,
        )
        return FeedSource(config, HttpClient(HTTP, sleep=lambda seconds: None))

    return opened


def test_rss_items(site, open_feed):
    site.pages["/rss"] = Answer(RSS.encode())
    source = open_feed("/rss", articles=False)
    entries = {entry.key: entry for entry in source.scan()}
    assert sorted(entries) == ["g1", site.url("/a/2")]
    entry = entries["g1"]
    assert (entry.title, entry.uri) == ("Bridge to close", site.url("/a/1"))
    assert entry.metadata["author"] == "Vrba"
    assert entry.metadata["published"] == "2026-04-18T08:00:00+02:00"
    assert source.fetch(entry) == b"<h1>Bridge to close</h1>\n<p>The whole text.</p>"


def test_atom_entries_and_their_articles(site, open_feed):
    site.pages["/atom"] = Answer(ATOM.encode())
    site.page("/a/9", "<html><body><p>The article itself.</p></body></html>")
    source = open_feed("/atom")
    (entry,) = source.scan()
    assert (entry.key, entry.uri, entry.title) == ("tag:x,2026:9", site.url("/a/9"), "Atom")
    assert b"The article itself." in source.fetch(entry)
    list(source.scan())
    assert site.requests.count("/a/9") == 1


def test_an_article_that_cannot_be_had_leaves_what_the_feed_says(site, open_feed):
    site.pages["/atom"] = Answer(ATOM.encode())
    source = open_feed("/atom")
    (entry,) = source.scan()
    assert source.fetch(entry) == b"<h1>Atom</h1>\nSum."


def test_articles_stay_when_they_roll_off(site, open_feed):
    site.pages["/rss"] = Answer(RSS.encode())
    before = [entry.key for entry in open_feed("/rss", articles=False).scan()]
    site.pages["/rss"] = Answer(b"<rss><channel></channel></rss>")
    assert [entry.key for entry in open_feed("/rss", articles=False).scan()] == before


def test_a_corrected_article_is_taken_in_again(site, open_feed):
    site.pages["/rss"] = Answer(RSS.encode())
    list(open_feed("/rss", articles=False).scan())
    site.pages["/rss"] = Answer(RSS.replace("The whole text", "The corrected text").encode())
    source = open_feed("/rss", articles=False)
    entries = {entry.key: entry for entry in source.scan()}
    assert b"corrected" in source.fetch(entries["g1"])


def test_one_feed_that_fails_is_an_error_but_the_others_were_read(site, open_feed):
    site.pages["/rss"] = Answer(RSS.encode())
    site.pages["/html"] = Answer(b"<html><body>Sign in</body></html>")
    with pytest.raises(SourceError, match="/html: it is not a feed; nothing of the source"):
        list(open_feed("/html", "/rss", articles=False).scan())
    site.pages["/html"] = Answer(ATOM.encode())
    found = list(open_feed("/html", "/rss", articles=False).scan())
    assert len(found) == 3


def test_entities_of_a_feed_are_not_expanded(site, open_feed):
    hostile = (
        '<!DOCTYPE rss [<!ENTITY f SYSTEM "file:///etc/passwd">]><rss><channel><item><guid>x</guid>'
        "<title>T&f;</title></item></channel></rss>"
    )
    site.pages["/rss"] = Answer(hostile.encode())
    source = open_feed("/rss", articles=False)
    (entry,) = source.scan()
    assert b"root:" not in source.fetch(entry)


def test_a_forgotten_article_is_not_fetched_again_until_it_is_let_in(site, open_feed, tmp_path):
    site.pages["/rss"] = Answer(RSS.encode())
    site.page("/a/1", "<html><body><p>Quaxolotl.</p></body></html>")
    assert len(list(open_feed("/rss").scan())) == 2
    assert open_feed("/rss").forget("g1")
    site.pages["/rss"] = Answer(RSS.replace("Short.", "Longer.").encode())
    before = site.requests.count("/a/1")
    assert [entry.key for entry in open_feed("/rss").scan()] == [site.url("/a/2")]
    assert site.requests.count("/a/1") == before
    assert not any(b"Quaxolotl" in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    open_feed("/rss").let_in("g1")
    assert len(list(open_feed("/rss").scan())) == 2
    assert site.requests.count("/a/1") == before + 1


def test_feeds_that_count_their_items_alike_do_not_replace_each_others(site, open_feed):
    def feed(link, text):
        item = f"<item><guid>1</guid><link>{link}</link><description>{text}</description></item>"
        return Answer(f"<rss><channel>{item}</channel></rss>".encode())

    site.pages = {"/a": feed("/x", "of a"), "/b": feed("/y", "of b"), "/c": feed("/x", "of a too")}
    for _ in range(2):
        source = open_feed("/a", "/b", "/c", articles=False)
        texts = {e.uri: source.fetch(e).decode() for e in source.scan()}
        assert len(list(source.scan())) == 2
        assert texts == {site.url("/x"): "<h1></h1>\nof a", site.url("/y"): "<h1></h1>\nof b"}
    site.pages["/a"] = Answer(b"<rss><channel></channel></rss>")
    source = open_feed("/a", "/b", articles=False)
    assert sorted(entry.uri for entry in source.scan()) == sorted(texts)
