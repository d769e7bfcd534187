import re
from collections import Counter
from pathlib import Path

import pytest

from rag_assets.parsing import Unparseable, parse

PAGES = sorted((Path(__file__).parent / "marked_pages").glob("*.html"))
_MARK = re.compile(r"<!--(/?)main-->")
_WORD = re.compile(r"\w+")


def words_of(text):
    """Words of a text without markup, addresses of links and names of languages."""
    text = re.sub(r"\]\([^)\s]*\)", "]", text)
    return Counter(_WORD.findall(re.sub(r"```\w+", "", text).casefold()))


def marked_words(source):
    """The words between the marks that a person has set around the main text."""
    from lxml import html

    parts = _MARK.split(source)
    # parts: text, "" or "/", text …; what follows an opening mark is main text.
    main = "".join(parts[i + 1] for i in range(1, len(parts), 2) if parts[i] == "")
    text = " ".join(html.fragment_fromstring(main, create_parent="div").itertext())
    return words_of(text)


def scores(path):
    """(precision, recall, F1) of the words that parsing keeps of a marked page."""
    data = path.read_bytes()
    charset = "iso-8859-1" if b"iso-8859-1" in data[:300] else "utf-8"
    wanted = marked_words(data.decode(charset))
    found = words_of(parse(_MARK.sub("", data.decode(charset)).encode(charset), path.name).text)
    common = (wanted & found).total()
    precision, recall = common / max(found.total(), 1), common / wanted.total()
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


def test_main_text_of_the_marked_pages():
    results = {path.stem: scores(path) for path in PAGES}
    assert len(results) >= 20
    mean = sum(f1 for _, _, f1 in results.values()) / len(results)
    assert mean >= 0.95, {name: [round(x, 2) for x in r] for name, r in results.items()}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_page_loses_its_text(path):
    precision, recall, f1 = scores(path)
    assert f1 >= 0.8, (precision, recall)


def test_structure_and_metadata_of_a_page():
    page = (Path(__file__).parent / "marked_pages" / "docs_sidebar.html").read_bytes()
    parsed = parse(page, "install")
    assert parsed.media_type == "text/html"
    assert parsed.title == "Installing the agent"
    assert parsed.metadata == {"language": "en"}
    assert [(h.level, h.title) for h in parsed.headings] == [
        (1, "Installing the agent"),
        (2, "From the package repository"),
        (2, "Checking that it runs"),
    ]
    for heading in parsed.headings:
        assert parsed.text[heading.start :].startswith("#" * heading.level + " " + heading.title)
    assert "sudo apt-get update\nsudo apt-get install beacon-agent\n```" in parsed.text
    assert "| behind | The queue on disk is growing; look at the network first. |" in parsed.text


def test_author_and_dates_come_from_the_head():
    page = (Path(__file__).parent / "marked_pages" / "blog_post.html").read_bytes()
    assert parse(page, "post").metadata == {
        "language": "en",
        "author": "Maren Holt",
        "published": "2026-02-11",
    }


def test_a_fragment_is_read_whole():
    parsed = parse(
        b"<h2>Rates</h2><p>See <a href='/r.html#x'>the list</a> or <a href='#y'>below</a>.<br>Soon."
        b"</p><ol><li>one<ul><li>deep</li></ul></li><li>two</li></ol><table><tr><th>a</th><th>b|c"
        b"</th></tr><tr><td>1<br>2</td><td><p>3</p></td></tr></table><pre class='language-sh'>"
        b"a\n  b</pre><script>no()</script><p hidden>no</p><img alt='A map'>",
        "mail.html",
    )
    assert parsed.text == (
        "## Rates\n\nSee [the list](/r.html#x) or below.\nSoon.\n\n1. one\n  - deep\n2. two\n\n"
        "| a | b\\|c |\n| --- | --- |\n| 1 2 | 3 |\n\n```sh\na\n  b\n```\n\nA map"
    )


@pytest.mark.parametrize(
    "data",
    [
        "<html><head><meta charset='windows-1251'><body><p>Привет всем".encode("cp1251"),
        "<html><body><p>Привет всем".encode(),
        "<html><head><meta charset='no-such'><body><p>Привет всем".encode(),
        "<?xml version='1.0' encoding='utf-8'?><html><body><p>Привет всем".encode(),
        "<html><body><p>Привет всем".encode("utf-16"),
    ],
)
def test_encodings(data):
    assert parse(data, "a.html").text == "Привет всем"


def test_a_page_without_words_is_no_text():
    with pytest.raises(Unparseable) as caught:
        parse(b"<html><script>x</script><div><img src=a></div></html>", "a.html")
    assert caught.value.reason == "no_text"
