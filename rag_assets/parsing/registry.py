"""One document, in this process: sniff, look up, parse."""

from rag_assets.parsing.archive import parse_compressed, parse_tar, parse_zip
from rag_assets.parsing.asciidoc import parse_asciidoc
from rag_assets.parsing.base import Parsed, ParseLimits, Parser, Unparseable
from rag_assets.parsing.code import parse_code
from rag_assets.parsing.csv_ import parse_csv, parse_tsv
from rag_assets.parsing.docx import parse_docx
from rag_assets.parsing.epub import parse_epub
from rag_assets.parsing.html import parse_html
from rag_assets.parsing.json_ import parse_json, parse_json_lines
from rag_assets.parsing.mail import parse_mail, parse_outlook
from rag_assets.parsing.markdown import parse_markdown
from rag_assets.parsing.notebook import parse_notebook
from rag_assets.parsing.ocr import parse_image
from rag_assets.parsing.opendocument import parse_opendocument
from rag_assets.parsing.pdf import parse_pdf
from rag_assets.parsing.pptx import parse_pptx
from rag_assets.parsing.rst import parse_rst
from rag_assets.parsing.rtf import parse_rtf
from rag_assets.parsing.sniff import DOCX, EPUB, ODP, ODS, ODT, PPTX, XLSX, sniff
from rag_assets.parsing.spreadsheet import parse_spreadsheet
from rag_assets.parsing.text import parse_text
from rag_assets.parsing.xml_ import parse_xml

# Distributions whose version shapes the text of some format: part of the recipe of parsing.
LIBRARIES = (
    "charset-normalizer",
    "lxml",
    "pypdfium2",
    "python-calamine",
    "python-docx",
    "python-oxmsg",
    "striprtf",
    "trafilatura",
)

PARSERS: dict[str, Parser] = {
    "text/plain": parse_text,
    "text/markdown": parse_markdown,
    "text/x-rst": parse_rst,
    "text/asciidoc": parse_asciidoc,
    "text/html": parse_html,
    "text/csv": parse_csv,
    "text/tab-separated-values": parse_tsv,
    "application/xml": parse_xml,
    "application/json": parse_json,
    "application/x-ndjson": parse_json_lines,
    "application/x-ipynb+json": parse_notebook,
    "application/pdf": parse_pdf,
    "application/rtf": parse_rtf,
    DOCX: parse_docx,
    XLSX: parse_spreadsheet,
    PPTX: parse_pptx,
    ODT: parse_opendocument,
    ODP: parse_opendocument,
    ODS: parse_spreadsheet,
    EPUB: parse_epub,
    "application/vnd.ms-excel": parse_spreadsheet,
    "application/vnd.ms-outlook": parse_outlook,
    "message/rfc822": parse_mail,
    "application/zip": parse_zip,
    "application/x-tar": parse_tar,
    "application/gzip": parse_compressed,
    "application/x-bzip2": parse_compressed,
    "application/x-xz": parse_compressed,
}
# What is not in the table by its own name: whole families of types.
FAMILIES: tuple[tuple[str, Parser], ...] = (("image/", parse_image), ("text/x-", parse_code))


def parse(data: bytes, name: str) -> Parsed:
    """A document as text with structure.

    data: the bytes of a file. name: its file name, which decides between kinds of text only.

    Raises: Unparseable with the reason, and nothing else, whatever the bytes are.
    """
    if not data:
        raise Unparseable("empty", "it is empty")
    parser = parser_of(sniff(data, name))
    try:
        parsed = parser(data, name)
    except Unparseable:
        raise
    except MemoryError as error:
        raise _too_much_memory() from error
    except RecursionError as error:
        raise Unparseable("too_deep", "it is nested too deeply") from error
    except Exception as error:
        if isinstance(error, OSError) and "failed to map segment" in str(error):
            raise _too_much_memory() from error  # no room left for a library of the parser
        kind = type(error).__name__
        raise Unparseable("damaged", f"it cannot be read ({kind}: {error})"[:500]) from error
    limit = ParseLimits().max_text
    if len(parsed.text) > limit:
        message = f"it holds {len(parsed.text):,} characters, the limit is {limit:,}; split it"
        raise Unparseable("too_large", message)
    if not parsed.text or parsed.text.isspace():
        raise Unparseable("no_text", "there is no text in it")
    return parsed


def parser_of(media_type: str) -> Parser:
    """The parser of a media type. Raises: Unparseable unknown_type."""
    if media_type in PARSERS:
        return PARSERS[media_type]
    for family, parser in FAMILIES:
        if media_type.startswith(family):
            return parser
    hint = _OLD_OFFICE.get(media_type, "")
    raise Unparseable("unknown_type", f"documents of type {media_type} cannot be read here{hint}")


_OLD_OFFICE = {
    "application/msword": "; save it as docx",
    "application/vnd.ms-powerpoint": "; save it as pptx",
}


def _too_much_memory() -> Unparseable:
    return Unparseable("out_of_memory", "it needs more memory than a document may")
