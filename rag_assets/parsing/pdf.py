"""PDF, page by page."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from rag_assets.parsing.base import Heading, Page, Parsed, Scalar, Unparseable
from rag_assets.parsing.building import TextBuilder, clean_title
from rag_assets.parsing.ocr import MOST_PAGES, page_image, recognised
from rag_assets.parsing.pages import repaired

if TYPE_CHECKING:
    import pypdfium2

_MOST_BOOKMARKS = 5000
_PROGRAMMATIC = re.compile(
    r"(?i)untitled|microsoft word - |document\d*$|.{0,200}\.(docx?|tex|dvi|indd)$"
)
_DATE = re.compile(r"D:(\d{4})(\d{2})?(\d{2})?")


def parse_pdf(data: bytes, name: str) -> Parsed:
    """The text of every page, with the outline as headings; pages of pixels go through OCR."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        # pdfium may report the error of the document before: only believe what the file confirms.
        if "password" in str(error).lower() and b"/Encrypt" in data:
            raise Unparseable("encrypted", "it needs a password; save it without one") from error
        raise Unparseable("damaged", "it is not readable as PDF") from error
    try:
        return _parsed(document, name)
    finally:
        document.close()


def _parsed(document: "pypdfium2.PdfDocument", name: str) -> Parsed:
    texts = [_page_text(document, index) for index in range(len(document))]
    broken = texts.count(None)
    pages = repaired([text or "" for text in texts])
    scanned = [i for i, text in enumerate(pages) if not text.strip() and texts[i] is not None]
    if len(scanned) == len(pages) - broken:
        if not scanned:
            raise Unparseable("damaged", "none of its pages can be read")
        _recognise(document, pages, scanned)
    builder = TextBuilder()
    for number, text in enumerate(pages, start=1):
        builder.page(number)
        builder.block(text)
    properties = document.get_metadata_dict(skip_empty=True)
    metadata = _metadata(properties, len(document))
    if broken:
        metadata["broken_pages"] = broken
    if scanned and not broken and len(scanned) == len(pages):
        metadata["ocr"] = True
    parsed = builder.parsed("application/pdf", _title(properties, name), metadata)
    return replace(parsed, headings=tuple(_outline(document, parsed.text, parsed.pages)))


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


def _recognise(document: "pypdfium2.PdfDocument", pages: list[str], scanned: list[int]) -> None:
    """Fill in the text of pages that are pictures. Raises: Unparseable."""
    if len(scanned) > MOST_PAGES:
        message = f"it is a scan of {len(scanned)} pages, the limit is {MOST_PAGES}; split it"
        raise Unparseable("too_large", message)
    for index in scanned:
        pages[index] = recognised(page_image(document, index))
    if not any(pages):
        raise Unparseable("no_text", "its pages are pictures in which no text was found")


def _outline(
    document: "pypdfium2.PdfDocument", text: str, pages: tuple[Page, ...]
) -> Iterator[Heading]:
    """The bookmarks as headings, each where its words stand on the page it points to."""
    starts = {page.number: page.start for page in pages}
    ends = {page.number: after.start for page, after in pairwise(pages)}
    position = 0
    for bookmark in islice(document.get_toc(), _MOST_BOOKMARKS):
        target = bookmark.get_dest()
        number = None if target is None else target.get_index()
        title = clean_title(bookmark.get_title())
        if title is None or number is None or number + 1 not in starts:
            continue
        begin, end = starts[number + 1], ends.get(number + 1, len(text))
        position = max(position, begin) if position < end else begin
        found = _find_line(text, title, max(begin, position), end)
        start = found if found is not None else max(begin, position)
        if start < position:
            continue  # bookmarks out of the order of the pages lead nowhere below
        position = start
        yield Heading(start, min(bookmark.level + 1, 6), title)


def _find_line(text: str, title: str, begin: int, end: int) -> int | None:
    """Where a line opens with the words of a title, or with them behind a number."""
    words = r"\s+".join(re.escape(word) for word in title.split())
    found = re.compile(rf"^[\dA-Z.]*[ \t]*{words}", re.MULTILINE).search(text, begin, end)
    return found.start() if found else None


def _title(properties: dict[str, str], name: str) -> str | None:
    """The title, unless it is what a program put there for want of one."""
    title = properties.get("Title", "").strip()
    return None if _PROGRAMMATIC.match(title) or title == name else title


def _metadata(properties: dict[str, str], pages: int) -> dict[str, Scalar]:
    return {
        "author": properties.get("Author"),
        "subject": properties.get("Subject"),
        "keywords": properties.get("Keywords"),
        "created": _date(properties.get("CreationDate", "")),
        "modified": _date(properties.get("ModDate", "")),
        "pages": pages,
    }


def _date(value: str) -> str | None:
    """A PDF date (`D:20260401120000Z`) as an ISO date."""
    match = _DATE.match(value)
    return "-".join(part for part in match.groups() if part) if match else None
