import json

import pytest

from rag_assets.config import HttpSettings, NotionConfig
from rag_assets.errors import SourceError
from rag_assets.sources import Entry
from rag_assets.sources.notion import NotionSource
from rag_assets_tests.sources.site import Answer, as_json, serving


@pytest.fixture
def site():
    with serving() as served:
        yield served


@pytest.fixture
def source(site):
    settings = HttpSettings(allow_private=True)
    url = site.url("")
    return NotionSource(NotionConfig(name="n", type="notion", token="t", url=url, http=settings))


def entry(key):
    return Entry(key, f"notion://{key}", f"{key}.md", "1", None, None)


def block(kind, words="", *, children=False, **more):
    content = {"rich_text": [{"plain_text": words}], **more}
    return {"id": f"{kind}-id", "type": kind, "has_children": children, kind: content}


def children(site, of, *blocks, cursor="", following=None):
    path = f"/v1/blocks/{of}/children?page_size=100" + (f"&start_cursor={cursor}" if cursor else "")
    answer = {"results": blocks, "next_cursor": following}
    site.pages[path] = Answer(json.dumps(answer).encode())


def test_blocks_become_markdown(site, source):
    children(
        site,
        "p",
        block("heading_2", "Setup"),
        block("paragraph", "Plug it in."),
        block("bulleted_list_item", "one", children=True),
        block("divider"),
        following="c2",
    )
    children(site, "bulleted_list_item-id", block("bulleted_list_item", "inner"))
    cells = [[{"plain_text": "a"}], [{"plain_text": "b"}]]
    children(
        site,
        "p",
        block("code", "x = 1", language="python"),
        block("table", children=True),
        block("child_page", children=True),
        cursor="c2",
    )
    children(site, "table-id", block("table_row", cells=cells))
    assert source.fetch(entry("p")).decode() == (
        "## Setup\n\nPlug it in.\n\n- one\n\n  - inner\n\n```python\nx = 1\n```\n\n  | a | b |"
    )


def test_archived_pages_and_those_that_come_twice(site, source):
    def page(name, archived=False):
        return {"id": name, "last_edited_time": "1", "archived": archived, "properties": {}}

    def search(asked):
        assert asked["filter"] == {"property": "object", "value": "page"}
        results = (
            [page("b"), page("c")] if "start_cursor" in asked else [page("a", True), page("b")]
        )
        more = "start_cursor" not in asked
        body = {"results": results, "has_more": more, "next_cursor": "2"}
        return Answer(json.dumps(body).encode())

    site.posts["/v1/search"] = search
    assert [found.key for found in source.scan()] == ["b", "c"]


def test_a_page_that_cannot_be_read_is_a_source_error(site, source):
    with pytest.raises(SourceError, match="status 404; nothing of the source"):
        source.fetch(entry("gone"))


def test_a_list_that_never_ends_is_an_error(site, source):
    site.posts["/v1/search"] = lambda asked: as_json(
        {"results": [], "has_more": True, "next_cursor": "c"}
    )
    with pytest.raises(SourceError, match="leads back to a page that was read already"):
        list(source.scan())
    children(site, "p", block("paragraph", "x"), following="c")
    children(site, "p", block("paragraph", "y"), cursor="c", following="c")
    with pytest.raises(SourceError, match="leads back"):
        source.fetch(entry("p"))
