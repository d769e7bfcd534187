"""One document, in this process: sniff, look up, parse."""

from rag_assets.parsing.base import Parsed, ParseLimits, Parser, Unparseable
from rag_assets.parsing.csv_ import parse_csv, parse_tsv
from rag_assets.parsing.docx import parse_docx
from rag_assets.parsing.html import parse_html
from rag_assets.parsing.json_ import parse_json, parse_json_lines
from rag_assets.parsing.markdown import parse_markdown
from rag_assets.parsing.pdf import parse_pdf
from rag_assets.parsing.rst import parse_rst
from rag_assets.parsing.sniff import DOCX, sniff
from rag_assets.parsing.text import parse_text

PARSERS: dict[str, Parser] = {
    "text/plain": parse_text,
    "text/markdown": parse_markdown,
    "text/x-rst": parse_rst,
    "text/html": parse_html,
    "text/csv": parse_csv,
    "text/tab-separated-values": parse_tsv,
    "application/json": parse_json,
    "application/x-ndjson": parse_json_lines,
    "application/pdf": parse_pdf,
    DOCX: parse_docx,
}


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
        raise Unparseable("out_of_memory", "it needs more memory than a document may") from error
    except RecursionError as error:
        raise Unparseable("too_deep", "it is nested too deeply") from error
    except Exception as error:
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
    parser = PARSERS.get(media_type)
    if parser is None:
        raise Unparseable("unknown_type", f"documents of type {media_type} cannot be read here")
    return parser
