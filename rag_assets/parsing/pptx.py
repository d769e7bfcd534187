"""PowerPoint presentations."""

import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rag_assets.parsing.base import Parsed
from rag_assets.parsing.building import TextBuilder, clean_title
from rag_assets.parsing.containers import Container, core_properties
from rag_assets.parsing.sniff import PPTX

if TYPE_CHECKING:
    from lxml.etree import _Element

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_TITLES = {"title", "ctrTitle"}


def parse_pptx(data: bytes, name: str) -> Parsed:
    """Every slide as a page: its title, its text and tables, then the speaker's notes."""
    container = Container(data)
    builder = TextBuilder()
    for number, path in enumerate(_slides(container), start=1):
        slide = container.xml(path)
        if slide is None:
            continue
        builder.page(number)
        _write(builder, slide)
        for target in _related(container, path, "notesSlide"):
            notes = container.xml(target)
            if notes is not None:
                text = "\n".join(_notes(notes))
                builder.block(f"Notes: {text}" if text else "")
    metadata = core_properties(container.xml("docProps/core.xml"))
    return builder.parsed(PPTX, clean_title(metadata.pop("title", None)), metadata)


def _slides(container: Container) -> list[str]:
    """Paths of the slides in the order they are shown."""
    root = container.xml("ppt/presentation.xml")
    targets = _relations(container, "ppt/presentation.xml")
    shown = [] if root is None else [node.get(_R + "id") for node in root.iter(_P + "sldId")]
    return [targets[key][1] for key in shown if key in targets]


def _relations(container: Container, path: str) -> dict[str, tuple[str, str]]:
    """Relation id → (kind, path) of what a part refers to."""
    folder, name = posixpath.split(path)
    root = container.xml(f"{folder}/_rels/{name}.rels")
    found = {}
    for node in root if root is not None else ():
        kind = node.get("Type", "").rpartition("/")[2]
        target = posixpath.normpath(posixpath.join(folder, node.get("Target", "")))
        found[node.get("Id", "")] = (kind, target.lstrip("/"))
    return found


def _related(container: Container, path: str, kind: str) -> list[str]:
    return [target for found, target in _relations(container, path).values() if found == kind]


def _write(builder: TextBuilder, slide: "_Element") -> None:
    shapes = list(slide.iter(_P + "sp", _P + "graphicFrame"))
    # The title leads, wherever the file has it.
    shapes.sort(key=lambda shape: _placeholder(shape) not in _TITLES)
    for shape in shapes:
        tables = list(shape.iter(_A + "tbl"))
        for table in tables:
            builder.table(
                ["\n".join(_paragraphs(cell)) for cell in row.iter(_A + "tc")]
                for row in table.iter(_A + "tr")
            )
        if tables:
            continue
        lines = list(_paragraphs(shape))
        if _placeholder(shape) in _TITLES:
            builder.heading(2, " ".join(lines))
        else:
            builder.block("\n".join(lines))


def _placeholder(shape: "_Element") -> str:
    mark = next(shape.iter(_P + "ph"), None)
    return "" if mark is None else mark.get("type", "body")


def _paragraphs(element: "_Element") -> Iterator[str]:
    for paragraph in element.iter(_A + "p"):
        parts = [
            "\n" if node.tag == _A + "br" else node.text or ""
            for node in paragraph.iter(_A + "t", _A + "br")
        ]
        text = "".join(parts).strip()
        if text:
            yield text


def _notes(notes: "_Element") -> Iterator[str]:
    """The notes themselves, without the slide number and the picture of the slide."""
    for shape in notes.iter(_P + "sp"):
        if _placeholder(shape) == "body":
            yield from _paragraphs(shape)
