import gzip

import pytest

from rag_assets.config import HttpSettings, WebConfig
from rag_assets.errors import SourceError
from rag_assets.sources.http import HttpClient
from rag_assets.sources.web import WebSource
from rag_assets_tests.sources.site import Answer, serving

HTTP = HttpSettings(allow_private=True)


@pytest.fixture
def site():
    with serving() as served:
        yield served


@pytest.fixture
def open_site(site, tmp_path):
    def opened(start="/docs/", **settings):
        starts = [site.url(path) for path in ([start] if isinstance(start, str) else start)]
        config = WebConfig(name="w", type="web", start=starts, path=str(tmp_path), **settings)
        return WebSource(config, HttpClient(HTTP, sleep=lambda seconds: None))

    return opened


def paths(source):
    return [entry.key.partition("/")[2] for entry in source.scan()]


def linked(*targets, head=""):
    links = "".join(f'<a href="{target}">x</a>' for target in targets)
    return f"<html><head>{head}</head><body><p>Text.</p>{links}</body></html>"


def test_links_are_followed_within_the_folder_of_the_start(site, open_site):
    site.page("/docs/", linked("a.html", "b/c.html#part", "/other/", "mailto:x@y.z", "pic.png"))
    site.page("/docs/a.html", linked("../docs/", "b/c.html", "https://elsewhere.example/docs/"))
    site.page("/docs/b/c.html", linked("../gone.html"))
    assert paths(open_site()) == ["docs/", "docs/a.html", "docs/b/c.html"]
    assert "/other/" not in site.requests
    assert site.requests.count("/docs/b/c.html") == 1


def test_an_entry_says_what_the_server_says(site, open_site):
    site.page("/docs/", linked(), **{"Last-Modified": "Fri, 01 May 2026 10:00:00 GMT"})
    (entry,) = open_site().scan()
    assert entry.uri == site.url("/docs/")
    assert entry.key == entry.uri.removeprefix("http://")
    assert entry.name == "index.html"
    assert entry.modified_at.isoformat() == "2026-05-01T10:00:00+00:00"
    assert open_site().fetch(entry) == linked().encode()


def test_files_that_pages_link_to_keep_their_names(site, open_site):
    site.page("/docs/", linked("guide.pdf", "notes"))
    site.pages["/docs/guide.pdf"] = Answer(b"%PDF-", headers={"Content-Type": "application/pdf"})
    site.page("/docs/notes", linked())
    assert [entry.name for entry in open_site().scan()] == ["index.html", "guide.pdf", "notes.html"]


def test_unchanged_pages_are_not_sent_again(site, open_site):
    site.page("/docs/", linked("a"))
    site.page("/docs/a", linked("b"))
    site.page("/docs/b", linked())
    first = [entry.token for entry in open_site().scan()]
    statuses = []
    whole = dict(site.pages)
    for path, answer in whole.items():
        site.pages[path] = lambda request, answer=answer: (
            statuses.append(answer(request).status) or answer(request)
        )
    assert [entry.token for entry in open_site().scan()] == first
    assert statuses == [304, 304, 304]


def test_robots_and_noindex_are_obeyed(site, open_site):
    site.pages["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /docs/private/")
    site.page("/docs/", linked("private/x", "hidden", "shown"))
    site.page("/docs/private/x", linked())
    site.page("/docs/hidden", linked("behind", head='<meta name="Robots" content="noindex">'))
    site.page("/docs/behind", linked())
    site.page("/docs/shown", linked("deep", head='<meta name="robots" content="nofollow">'))
    site.page("/docs/deep", linked())
    assert paths(open_site()) == ["docs/", "docs/behind", "docs/shown"]
    assert "/docs/private/x" not in site.requests


@pytest.mark.parametrize("rule", ["Crawl-delay: 3", "Request-rate: 2/6"])
def test_the_pace_that_a_site_asks_for_is_kept(site, tmp_path, rule):
    site.pages["/robots.txt"] = Answer(f"User-agent: *\n{rule}\n".encode())
    site.page("/docs/", linked("a", "b"))
    site.page("/docs/a", linked())
    site.page("/docs/b", linked())
    waits = []
    client = HttpClient(HTTP, sleep=waits.append)
    start = [site.url("/docs/")]
    config = WebConfig(name="w", type="web", start=start, path=str(tmp_path), http=HTTP)
    assert len(list(WebSource(config, client).scan())) == 3
    assert [round(wait) for wait in waits] == [3, 6, 9]


def test_sitemaps_lead_to_pages_and_to_each_other(site, open_site):
    index = f"<sitemapindex><sitemap><loc>{site.url('/docs/s.xml')}</loc></sitemap></sitemapindex>"
    site.pages["/docs/sitemap.xml"] = Answer(index.encode())
    locations = "".join(f"<url><loc> {site.url(f'/docs/{n}')} </loc></url>" for n in "ab")
    site.pages["/docs/s.xml"] = Answer(
        f"<?xml version='1.0'?><urlset>{locations}</urlset>".encode()
    )
    site.page("/docs/a", linked())
    site.page("/docs/b", linked())
    assert paths(open_site("/docs/sitemap.xml")) == ["docs/a", "docs/b"]


def test_a_page_is_gone_when_it_is_missing_twice(site, open_site):
    site.page("/docs/", linked("a"))
    site.page("/docs/a", linked())
    assert paths(open_site()) == ["docs/", "docs/a"]
    kept = site.pages.pop("/docs/a")
    assert paths(open_site()) == ["docs/", "docs/a"]
    site.pages["/docs/a"] = kept
    assert paths(open_site()) == ["docs/", "docs/a"]
    del site.pages["/docs/a"]
    assert paths(open_site()) == ["docs/", "docs/a"]
    assert paths(open_site()) == ["docs/"]


def test_a_page_that_fails_stays_as_it_was(site, open_site):
    names = [f"p{i}" for i in range(9)]
    site.page("/docs/", linked(*names))
    for name in names:
        site.page(f"/docs/{name}", linked())
    before = {entry.key: entry.token for entry in open_site().scan()}
    site.pages["/docs/p3"] = Answer(status=500)
    assert {entry.key: entry.token for entry in open_site().scan()} == before
    for name in names[:4]:
        site.pages[f"/docs/{name}"] = Answer(status=500)
    with pytest.raises(SourceError, match=r"4 pages cannot be read; first: .*status 500"):
        list(open_site().scan())


@pytest.mark.parametrize("path", ["/docs/", "/robots.txt"])
@pytest.mark.parametrize("status", [500, 403])
def test_a_site_that_is_down_is_an_error(site, open_site, path, status):
    site.page("/docs/", linked())
    site.pages[path] = Answer(status=status)
    with pytest.raises(SourceError, match="nothing of the source was changed"):
        list(open_site().scan())


def test_redirects_within_the_site_lead_on_and_out_of_it_nowhere(site, open_site):
    site.page("/docs/", linked("old", "out"))
    site.pages["/docs/old"] = Answer(status=301, headers={"Location": "/docs/new"})
    site.pages["/docs/out"] = Answer(status=302, headers={"Location": "/login"})
    site.page("/docs/new", linked())
    site.page("/login", linked())
    assert paths(open_site()) == ["docs/", "docs/new"]
    site.pages["/docs/"] = Answer(status=302, headers={"Location": "/login"})
    with pytest.raises(SourceError, match="outside of"):
        list(open_site().scan())


def test_too_many_pages_are_an_error_not_a_part(site, open_site):
    site.page("/docs/", linked(*map(str, range(9))))
    for number in range(9):
        site.page(f"/docs/{number}", linked())
    with pytest.raises(SourceError, match="more than max_pages: 5; raise it or narrow prefix"):
        list(open_site(max_pages=5).scan())


def test_bytes_that_nobody_needs_are_removed(site, open_site, tmp_path):
    site.page("/docs/", linked())
    list(open_site().scan())
    site.page("/docs/", linked("a"))
    list(open_site().scan())
    assert len(list(tmp_path.glob("bodies/*/*"))) == 1


def test_a_forgotten_page_is_not_kept_again_and_still_leads_on(site, open_site, tmp_path):
    site.page("/docs/", linked("a.html"))
    site.page("/docs/a.html", linked("b.html").replace("Text", "Quaxolotl"), ETag='"a1"')
    site.page("/docs/b.html", linked())
    source = open_site()
    assert paths(source) == ["docs/", "docs/a.html", "docs/b.html"]
    key = site.url("/docs/a.html").partition("://")[2]
    assert open_site().forget(key)
    for etag in ('"a1"', '"a2"'):
        site.page("/docs/a.html", linked("b.html").replace("Text", "Quaxolotl"), ETag=etag)
        assert paths(open_site()) == ["docs/", "docs/b.html"]
        kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert not any(b"Quaxolotl" in data for data in kept)
    open_site().let_in(key)
    assert paths(open_site()) == ["docs/", "docs/a.html", "docs/b.html"]


def test_links_and_addresses_in_any_alphabet(site, open_site):
    site.page("/docs/", linked("über uns.html", "b%C3%BC", "http://[bad/", "//x:99999/", "a?q=ä b"))
    site.page("/docs/%C3%BCber%20uns.html", linked("/docs/%C3%BCber%20uns.html", "bü"))
    site.page("/docs/b%C3%BC", linked())
    site.page("/docs/a?q=%C3%A4%20b", linked())
    expected = ["docs/", "docs/a?q=%C3%A4%20b", "docs/b%C3%BC", "docs/%C3%BCber%20uns.html"]
    assert sorted(paths(open_site())) == sorted(expected)
    latin = linked("straße").encode("latin-1")
    kind = {"Content-Type": "text/html; charset=ISO-8859-1"}
    site.pages["/docs/"] = Answer(latin, headers=kind)
    site.page("/docs/stra%C3%9Fe", linked())
    assert "docs/stra%C3%9Fe" in paths(open_site())


def test_what_a_sitemap_index_names_lies_anywhere_on_the_host_and_must_be_readable(site, open_site):
    def sitemap(*locations, kind="url", root="urlset"):
        inner = "".join(f"<{kind}><loc>{site.url(x)}</loc></{kind}>" for x in locations)
        return Answer(f"<{root}>{inner}</{root}>".encode())

    children = ("/maps/1.xml.gz", "/maps/2.xml", "/sitemap.xml")
    site.pages["/sitemap.xml"] = sitemap(*children, kind="sitemap", root="sitemapindex")
    site.pages["/maps/1.xml.gz"] = Answer(gzip.compress(sitemap("/docs/a").body))
    site.pages["/maps/2.xml"] = whole = sitemap("/docs/b", "/other/c", "http://[bad")
    for name in ("/docs/a", "/docs/b", "/other/c"):
        site.page(name, linked())
    start = {"start": "/sitemap.xml", "prefix": site.url("/docs/")}
    assert paths(open_site(**start)) == ["docs/a", "docs/b"]
    for broken in (Answer(status=500), Answer(whole.body[:-20])):
        site.pages["/maps/2.xml"] = broken
        for _ in range(2):
            with pytest.raises(SourceError, match=r"2\.xml.*nothing of the source was changed"):
                list(open_site(**start).scan())
    site.pages["/maps/2.xml"] = whole
    assert paths(open_site(**start)) == ["docs/a", "docs/b"]


def test_a_packed_file_that_is_damaged_or_a_bomb_is_no_sitemap(site, open_site):
    site.page("/docs/", linked("a.dump", *map(str, range(9))))
    for number in range(9):
        site.page(f"/docs/{number}", linked())
    site.pages["/docs/a.dump"] = Answer(gzip.compress(b"hello")[:12])
    assert "docs/a.dump" in paths(open_site())
    site.pages["/docs/a.dump"] = Answer(gzip.compress(bytes(70 << 20)))
    assert "docs/a.dump" in paths(open_site())  # as it was: it cannot be read now
    site.pages["/docs/"] = site.pages["/docs/a.dump"]
    with pytest.raises(SourceError, match="more than 64 MiB"):
        list(open_site().scan())


def test_each_host_has_rules_of_its_own(site, tmp_path):
    with serving() as other:
        locations = f"<urlset><url><loc>{other.url('/docs/a')}</loc></url></urlset>"
        site.pages["/sitemap.xml"] = Answer(locations.encode())
        other.pages["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /docs/")
        other.page("/docs/a", linked())
        start, prefix = [site.url("/sitemap.xml")], other.url("/")
        config = WebConfig(name="w", type="web", start=start, prefix=prefix, path=str(tmp_path))
        assert list(WebSource(config, HttpClient(HTTP, sleep=lambda s: None)).scan()) == []
        assert other.requests == ["/robots.txt"]
