"""Source `notion`: the pages that an integration can see, as markdown."""

from collections.abc import Iterator
from typing import Any

from rag_assets.config import NotionConfig
from rag_assets.sources.api import JsonApi
from rag_assets.sources.base import Entry
from rag_assets.sources.fields import moment_of, value_at
from rag_assets.sources.http import HttpClient

_VERSION = "2022-06-28"
_DEEPEST = 8  # levels of blocks within blocks
_MARKS = {
    "heading_1": "# ",
    "heading_2": "## ",
    "heading_3": "### ",
    "bulleted_list_item": "- ",
    "numbered_list_item": "1. ",
    "to_do": "- [ ] ",
    "quote": "> ",
    "callout": "> ",
}


class NotionSource:
    """Pages by their id; `last_edited_time` tells what changed, archived pages are gone."""

    def __init__(self, config: NotionConfig, client: HttpClient | None = None) -> None:
        client = client or HttpClient(config.http, secrets=[config.token])
        headers = {"Authorization": f"Bearer {config.token}", "Notion-Version": _VERSION}
        self._api = JsonApi(config.name, config.url, client, headers)

    def scan(self) -> Iterator[Entry]:
        """Every page. Raises: SourceError when the list cannot be read to its end."""
        cursor: str | None = None
        seen: set[str] = set()
        visited: set[str] = set()
        while True:
            asked: dict[str, Any] = {"filter": {"property": "object", "value": "page"}}
            if cursor:
                asked["start_cursor"] = cursor
            answer = self._api.post("v1/search", asked)
            for page in self._api.list_at(answer, "results"):
                # A page edited while we read moves to the front and may come twice.
                if not page.get("archived") and page["id"] not in seen:
                    seen.add(page["id"])
                    yield _entry(page)
            cursor = answer.get("next_cursor")
            if not answer.get("has_more") or not cursor:
                return
            cursor = self._api.onward(cursor, visited)

    def fetch(self, entry: Entry) -> bytes:
        """The blocks of a page as markdown. Raises: SourceError when it cannot be read."""
        return "\n\n".join(self._blocks(entry.key, 0)).encode()

    def _blocks(self, block: str, depth: int) -> Iterator[str]:
        cursor: str | None = None
        visited: set[str] = set()
        while depth < _DEEPEST:
            answer = self._api.get(
                f"v1/blocks/{block}/children", page_size=100, start_cursor=cursor
            )
            for child in self._api.list_at(answer, "results"):
                text = _text(child)
                if text:
                    yield "  " * depth + text
                if child.get("has_children") and child["type"] != "child_page":
                    yield from self._blocks(child["id"], depth + 1)
            cursor = answer.get("next_cursor")
            if not cursor:
                return
            cursor = self._api.onward(cursor, visited)


def _entry(page: dict[str, Any]) -> Entry:
    values = page.get("properties", {}).values()
    parts = [part for value in values if value["type"] == "title" for part in value["title"]]
    title = "".join(part.get("plain_text", "") for part in parts)
    return Entry(
        key=page["id"],
        uri=page.get("url") or f"notion://{page['id']}",
        name=f"{page['id']}.md",
        token=page["last_edited_time"],
        size=None,
        modified_at=moment_of(page["last_edited_time"]),
        title=title or None,
    )


def _text(block: dict[str, Any]) -> str:
    """A block as markdown; nothing for those without text."""
    kind = block["type"]
    words = "".join(
        part.get("plain_text", "") for part in value_at(block, f"{kind}.rich_text") or []
    )
    if kind == "code":
        return f"```{value_at(block, 'code.language') or ''}\n{words}\n```"
    if kind == "table_row":
        cells = value_at(block, "table_row.cells") or []
        return "| " + " | ".join("".join(p["plain_text"] for p in cell) for cell in cells) + " |"
    return f"{_MARKS.get(kind, '')}{words}" if words else ""
