"""Word documents."""

import io
import re
from typing import TYPE_CHECKING

from rag_assets.parsing.base import Parsed, Scalar, Unparseable
from rag_assets.parsing.building import TextBuilder
from rag_assets.parsing.containers import Container
from rag_assets.parsing.sniff import DOCX

if TYPE_CHECKING:
    from docx.document import Document
    from docx.table import Table
    from docx.text.paragraph import Paragraph

_HEADING = re.compile(r"(?i)heading ?([1-9])")


def parse_docx(data: bytes, name: str) -> Parsed:
    """Headings, paragraphs, lists and tables in the order of the body."""
    import docx
    from docx.text.paragraph import Paragraph

    Container(data)  # refuses bombs
    try:
        document = docx.Document(io.BytesIO(data))
    except (KeyError, ValueError, OSError, SyntaxError, AttributeError) as error:
        raise Unparseable("damaged", f"it is not readable as a Word document: {error}") from error
    builder = TextBuilder()
    title = None
    for block in document.iter_inner_content():
        if isinstance(block, Paragraph):
            kind = _style(block)
            if kind == "title" and title is None:
                title = block.text
            _add_paragraph(builder, block, kind)
        else:
            builder.table(_rows(block))
    return builder.parsed(DOCX, title or document.core_properties.title, _metadata(document))


def _style(paragraph: "Paragraph") -> str:
    style = paragraph.style
    return (style.name or "").lower() if style is not None else ""


def _add_paragraph(builder: TextBuilder, paragraph: "Paragraph", style: str) -> None:
    heading = _HEADING.match(style)
    if heading or style == "title":
        builder.heading(int(heading[1]) if heading else 1, paragraph.text)
    elif style.startswith("list"):
        builder.item(f"- {paragraph.text}" if paragraph.text.strip() else "")
    else:
        builder.block(paragraph.text)


def _rows(table: "Table") -> list[list[str]]:
    """Cell texts; a cell that spans several columns counts once."""
    rows = []
    for row in table.rows:
        cells = []
        previous = None
        for cell in row.cells:
            if cell._tc is not previous:
                cells.append(cell.text)
            previous = cell._tc
        rows.append(cells)
    return rows


def _metadata(document: "Document") -> dict[str, Scalar]:
    properties = document.core_properties
    return {
        "author": properties.author,
        "subject": properties.subject,
        "keywords": properties.keywords,
        "language": properties.language,
        "created": properties.created.date().isoformat() if properties.created else None,
        "modified": properties.modified.date().isoformat() if properties.modified else None,
    }
