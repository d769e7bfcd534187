"""OpenDocument texts and presentations (odt, odp)."""

from typing import TYPE_CHECKING

from rag_assets.parsing.base import Parsed
from rag_assets.parsing.building import TextBuilder, clean_title
from rag_assets.parsing.containers import Container, core_properties
from rag_assets.parsing.sniff import ODP, ODT

if TYPE_CHECKING:
    from lxml.etree import _Element

_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_XLINK = "{http://www.w3.org/1999/xlink}"


def parse_opendocument(data: bytes, name: str) -> Parsed:
    """Headings, paragraphs, lists and tables in order; slides as pages."""
    container = Container(data)
    content = container.xml("content.xml")
    builder = TextBuilder()
    if content is not None:
        body = content.find(f"{_OFFICE}body")
        _write(builder, content if body is None else body)
    metadata = core_properties(container.xml("meta.xml"))
    media_type = ODP if b"presentation" in container.read("mimetype") else ODT
    return builder.parsed(media_type, clean_title(metadata.pop("title", None)), metadata)


def _write(builder: TextBuilder, body: "_Element") -> None:
    """Blocks in document order, without recursion."""
    pending = list(reversed(body))
    slides = 0
    while pending:
        element = pending.pop()
        if element.tag == _TEXT + "h":
            level = element.get(_TEXT + "outline-level", "1")
            builder.heading(int(level) if level.isdigit() else 1, _words(element))
        elif element.tag == _TEXT + "p":
            builder.block(_words(element))
            frames = [child for child in element if child.tag == _DRAW + "frame"]
            pending += reversed(frames)
        elif element.tag == _TEXT + "list":
            _write_list(builder, element)
        elif element.tag == _TABLE + "table":
            builder.table(_rows(element))
        elif element.tag != _TEXT + "tracked-changes":
            if element.tag == _DRAW + "page":
                slides += 1
                builder.page(slides)
            pending += reversed(element)


def _write_list(builder: TextBuilder, element: "_Element") -> None:
    for item in element.iter(_TEXT + "list-item"):
        depth = sum(outer.tag == _TEXT + "list" for outer in item.iterancestors())
        own = [child for child in item if child.tag in {_TEXT + "p", _TEXT + "h"}]
        words = " ".join(_words(child) for child in own)
        if words.strip():
            builder.item(f"{'  ' * (depth - 1)}- {words}")


def _rows(table: "_Element") -> list[list[str]]:
    return [
        [" ".join(_words(part) for part in cell.iter(_TEXT + "p")) for cell in row]
        for row in table.iter(_TABLE + "table-row")
    ]


def _words(element: "_Element") -> str:
    """The text of a paragraph; spaces, tabs and line breaks are elements of their own."""
    parts = [element.text or ""]
    for child in element:
        if child.tag == _TEXT + "s":
            count = child.get(_TEXT + "c", "1")
            parts.append(" " * min(int(count) if count.isdigit() else 1, 100))
        elif child.tag == _TEXT + "tab":
            parts.append("\t")
        elif child.tag == _TEXT + "line-break":
            parts.append("\n")
        elif child.tag == _TEXT + "a":
            target = child.get(_XLINK + "href", "")
            words = "".join(child.itertext())
            parts.append(f"[{words}]({target})" if target[:1] not in {"", "#"} else words)
        elif child.tag not in {_DRAW + "frame", _OFFICE + "annotation"}:
            parts.append("".join(child.itertext()))
        parts.append(child.tail or "")
    return "".join(parts)
