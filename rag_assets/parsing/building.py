"""Putting a text together block by block, with the offsets of its headings and pages."""

from collections.abc import Iterable, Mapping, Sequence

from rag_assets.parsing.base import Heading, Page, Parsed, Scalar, Unparseable
from rag_assets.parsing.normalise import normalise


class TextBuilder:
    """A text in the making. Blocks are normalised one by one, so that offsets never move."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._headings: list[Heading] = []
        self._pages: list[Page] = []
        self._next_page: int | None = None
        self._in_list = False

    @property
    def text(self) -> str:
        """What has been added so far."""
        return "".join(self._parts)

    def block(self, text: str, *, tight: bool = False) -> None:
        """Add a paragraph, after a blank line or, when tight, on the next line."""
        text = normalise(text)
        if not text or text.isspace():
            return
        self._in_list = False
        if self._parts:
            gap = "\n" if tight else "\n\n"
            self._parts.append(gap)
            self._length += len(gap)
        if self._next_page is not None:
            self._pages.append(Page(self._length, self._next_page))
            self._next_page = None
        self._parts.append(text)
        self._length += len(text)

    def item(self, text: str) -> None:
        """Add an item of a list, mark and all, on the next line if an item stands there."""
        if text.strip():
            self.block(text, tight=self._in_list)
            self._in_list = True

    def heading(self, level: int, title: str) -> None:
        """Add a heading, written as markdown does."""
        words = " ".join(normalise(title).split())
        if words:
            level = min(max(level, 1), 6)
            self.block(f"{'#' * level} {words}")
            start = self._length - len(words) - level - 1
            self._headings.append(Heading(start, level, words))

    def page(self, number: int) -> None:
        """What is added next is on this page; a page without text does not count."""
        self._next_page = number

    def table(self, rows: Iterable[Sequence[str]]) -> None:
        """Add a table as markdown, its first row as the header; empty rows are left out."""
        cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
        cells = [row for row in cells if any(row)]
        if not cells:
            return
        width = max(map(len, cells))
        lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in cells]
        lines.insert(1, "|" + " --- |" * width)
        self.block("\n".join(lines))

    def embed(self, parsed: Parsed) -> None:
        """Add another document; its headings go one level down, its pages are not this one's."""
        self.block(parsed.text)
        begin = self._length - len(parsed.text)
        for heading in parsed.headings:
            start, level = begin + heading.start, min(heading.level + 1, 6)
            self._headings.append(Heading(start, level, heading.title))

    def parsed(
        self,
        media_type: str,
        title: str | None = None,
        metadata: Mapping[str, Scalar] | None = None,
    ) -> Parsed:
        """The document. Without a title of its own, the first heading of the top level gives it.

        Raises: Unparseable when there is no text.
        """
        if not self._parts:
            raise Unparseable("no_text", "there is no text in it")
        return Parsed(
            text=self.text,
            title=clean_title(title) or first_title(self._headings),
            media_type=media_type,
            headings=tuple(self._headings),
            pages=tuple(self._pages),
            metadata=clean_metadata(metadata or {}),
        )


def first_title(headings: Sequence[Heading]) -> str | None:
    """The first heading of the highest level, if it opens the document."""
    top = min((heading.level for heading in headings), default=None)
    return headings[0].title if headings and headings[0].level == top else None


def clean_title(title: object) -> str | None:
    """A title on one line, or None."""
    words = " ".join(normalise(title).split()) if isinstance(title, str) else ""
    return words[:500] or None


def clean_metadata(metadata: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Metadata without empty values; strings normalised and at most 1,000 characters long."""
    cleaned: dict[str, Scalar] = {}
    for key, value in metadata.items():
        if isinstance(value, str):
            value = normalise(value).strip()[:1000]
        if value is not None and value != "":
            cleaned[normalise(key)] = value
    return cleaned
