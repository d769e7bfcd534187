"""PDF, page by page."""

import re
from typing import TYPE_CHECKING

from rag_assets.parsing.base import Parsed, Scalar, Unparseable
from rag_assets.parsing.building import TextBuilder

if TYPE_CHECKING:
    import pypdfium2

_PROGRAMMATIC = re.compile(
    r"(?i)untitled|microsoft word - |document\d*$|.{0,200}\.(docx?|tex|dvi|indd)$"
)
_DATE = re.compile(r"D:(\d{4})(\d{2})?(\d{2})?")


def parse_pdf(data: bytes, name: str) -> Parsed:
    """The text of every page; the title as the file's properties give it."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise Unparseable("encrypted", "it needs a password; save it without one") from error
        raise Unparseable("damaged", f"it is not readable as PDF: {error}") from error
    try:
        builder = TextBuilder()
        broken = 0
        for index in range(len(document)):
            text = _page_text(document, index)
            broken += text is None
            builder.page(index + 1)
            builder.block(text or "")
        properties = document.get_metadata_dict(skip_empty=True)
        metadata = _metadata(properties, len(document), broken)
        return builder.parsed("application/pdf", _title(properties, name), metadata)
    except Unparseable as error:
        reason = "no page of it could be read" if broken else "its pages hold no text, only images"
        raise Unparseable("damaged" if broken else "no_text", reason) from error
    finally:
        document.close()


def _page_text(document: "pypdfium2.PdfDocument", index: int) -> str | None:
    """The text of a page, None when the page is broken."""
    import pypdfium2

    try:
        page = document[index]
        try:
            return page.get_textpage().get_text_bounded()
        finally:
            page.close()
    except pypdfium2.PdfiumError:
        return None


def _title(properties: dict[str, str], name: str) -> str | None:
    """The title, unless it is what a program put there for want of one."""
    title = properties.get("Title", "").strip()
    programmatic = re.match(
        r"(?i)untitled|microsoft word - |document\d*$|.*\.(docx?|tex|dvi|indd)$", title
    )
    return None if programmatic or title == name else title


def _metadata(properties: dict[str, str], pages: int, broken: int) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {
        "author": properties.get("Author"),
        "subject": properties.get("Subject"),
        "keywords": properties.get("Keywords"),
        "created": _date(properties.get("CreationDate", "")),
        "modified": _date(properties.get("ModDate", "")),
        "pages": pages,
    }
    return {**found, "broken_pages": broken} if broken else found


def _date(value: str) -> str | None:
    """A PDF date (`D:20260401120000Z`) as an ISO date."""
    match = _DATE.match(value)
    return "-".join(part for part in match.groups() if part) if match else None
