import pytest

from rag_assets.sources.robots import Robots

RULES = b"""\xef\xbb\xbfUser-agent: other
User-agent: Rag-Assets/2.0
Disallow: /private/   # nobody's business
Allow: /private/open
Disallow: /*.pdf$
Disallow: /a*b*c
Disallow: /s%c3%bcd
Disallow: /exact$
Crawl-delay: 2

Sitemap: https://example.org/sitemap.xml
User-agent: *
Disallow: /
"""


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", True),
        ("/private/x", False),
        ("/private/open/x", True),
        ("/x/paper.pdf", False),
        ("/x/paper.pdf?page=2", True),
        ("/a-b-c-d", False),
        ("/a-c-b", True),
        ("/süd/x", False),
        ("/S%C3%BCd", True),
        ("/s%C3%BCd", False),
        ("/exact", False),
        ("/exactly", True),
        ("/%70rivate/x", False),
    ],
)
def test_the_longest_rule_that_fits_counts(path, allowed):
    assert Robots(RULES, "rag-assets").allows(f"https://example.org{path}") is allowed


def test_rules_for_others_and_for_all():
    assert Robots(RULES, "rag-assets").delay == 2
    stranger = Robots(RULES, "stranger")
    assert (stranger.allows("https://example.org/x"), stranger.delay) == (False, 0)
    assert Robots(b"", "rag-assets").allows("https://example.org/x")
    assert Robots(b"User-agent: *\nDisallow:\nRequest-rate: 2/6", "x").delay == 3
    assert Robots(b"User-agent: *\nCrawl-delay: x\nRequest-rate: 0/1", "x").delay == 0
    both = b"User-agent: x\nDisallow: /a\n\nUser-agent: y\nDisallow: /b\n\nUser-agent: x\nAllow: /"
    assert not Robots(both, "x").allows("https://example.org/a")
    assert Robots(both, "x").allows("https://example.org/b")
