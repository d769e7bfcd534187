"""XML: documents as text under headings, data as `name: value` lines."""

from typing import TYPE_CHECKING

from rag_assets.parsing.base import Parsed, Unparseable
from rag_assets.parsing.building import TextBuilder
from rag_assets.parsing.containers import core_properties, xml_root

if TYPE_CHECKING:
    from lxml.etree import _Element

_DEEPEST = 200
_SECTIONS = {
    "article", "appendix", "body", "book", "chapter", "concept", "part", "preface", "refsect1",
    "refsect2", "refsection", "sec", "sect1", "sect2", "sect3", "section", "task", "topic", "text",
    "div",
}  # fmt: skip
_PARAGRAPHS = {
    "p", "para", "simpara", "title", "head", "abstract", "item", "listitem", "li", "entry", "cell",
    "term", "quote", "note", "caption", "dd", "dt",
}  # fmt: skip
_CODE = {"programlisting", "screen", "codeblock"}


def parse_xml(data: bytes, name: str) -> Parsed:
    """DocBook, DITA, TEI, JATS and their like by their paragraphs; any other XML as data."""
    root = xml_root(data)
    tags = {_name(element) for element in root.iter("*")}
    document = bool(tags & {"p", "para", "simpara"}) and bool(tags & _SECTIONS)
    builder = TextBuilder()
    if document:
        _write_document(builder, root, 0)
    else:
        for line in _lines(root):
            builder.block(line, tight=True)
    return builder.parsed("application/xml", None, core_properties(root))


def _name(element: "_Element") -> str:
    from lxml import etree

    return etree.QName(element).localname.lower() if isinstance(element.tag, str) else ""


def _write_document(builder: TextBuilder, element: "_Element", depth: int) -> None:
    if depth > _DEEPEST:
        raise Unparseable("too_deep", f"its elements nest more than {_DEEPEST} levels deep")
    for child in element:
        name = _name(child)
        if name in {"title", "head"}:
            builder.heading(_level(child), _text(child))
        elif name in _CODE:
            builder.block(f"```\n{''.join(child.itertext()).strip()}\n```")
        elif len(child) == 0 or (name in _PARAGRAPHS and not _holds_paragraphs(child)):
            builder.block(_text(child))
        else:
            builder.block(" ".join((child.text or "").split()))
            _write_document(builder, child, depth + 1)
        builder.block(" ".join((child.tail or "").split()))


def _holds_paragraphs(element: "_Element") -> bool:
    return any(_name(inner) in _PARAGRAPHS for inner in element.iterdescendants("*"))


def _level(title: "_Element") -> int:
    """The level of a title: how many sections it lies in."""
    return max(1, sum(_name(outer) in _SECTIONS for outer in title.iterancestors()))


def _text(element: "_Element") -> str:
    return " ".join("".join(element.itertext()).split())


def _lines(root: "_Element") -> list[str]:
    """Every element with text or attributes as `name: text`, indented by depth."""
    lines = []
    pending = [(root, 0)]
    while pending:
        element, depth = pending.pop()
        name = _name(element)
        if not name:
            continue
        if depth > _DEEPEST:
            raise Unparseable("too_deep", f"its elements nest more than {_DEEPEST} levels deep")
        values = [f"{key.rpartition('}')[2]}={value}" for key, value in element.items()]
        text = " ".join((element.text or "").split())
        said = " ".join([*values, text]).strip()
        if said or len(element):
            lines.append(f"{'  ' * depth}{name}: {said}".rstrip())
        tail = " ".join((element.tail or "").split())
        if tail and element is not root:
            lines.append("  " * depth + tail)
        pending += [(child, depth + 1) for child in reversed(element)]
    return lines
