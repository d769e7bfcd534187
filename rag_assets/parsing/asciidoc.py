"""AsciiDoc."""

import re

from rag_assets.parsing.base import Heading, Parsed, Scalar
from rag_assets.parsing.building import clean_metadata, first_title
from rag_assets.parsing.text import readable

_SECTION = re.compile(r"(={1,6}|#{1,6})[ \t]+(\S.*)")
_DELIMITER = re.compile(r"(-{4,}|\.{4,}|={4,}|\+{4,}|/{4,}|_{4,}|\*{4,}|--|\|={3,}|`{3,})")
# Blocks whose content is not read as AsciiDoc.
_VERBATIM = "-.+/`"
_ATTRIBUTE = re.compile(r":([\w-]+):[ \t]+(\S.*)")


def parse_asciidoc(data: bytes, name: str) -> Parsed:
    """The source itself; attributes of the header also go to the metadata."""
    text = readable(data)
    headings = asciidoc_headings(text)
    metadata = _header(text)
    return Parsed(
        text,
        first_title(headings),
        "text/asciidoc",
        tuple(headings),
        metadata=clean_metadata(metadata),
    )


def asciidoc_headings(text: str) -> list[Heading]:
    """Section titles outside verbatim blocks, in order; the document's title has level 1."""
    found = []
    closing = ""
    start = 0
    for line in text.split("\n"):
        begin, start = start, start + len(line) + 1
        if closing:
            closing = "" if line == closing else closing
            continue
        if _DELIMITER.fullmatch(line):
            closing = line if line[0] in _VERBATIM and line != "--" else ""
            continue
        section = _SECTION.fullmatch(line)
        if section:
            found.append(Heading(begin, len(section[1]), " ".join(section[2].split())))
    return found


def _header(text: str) -> dict[str, Scalar]:
    """The author line and the attributes below a document title."""
    found: dict[str, Scalar] = {}
    lines = text.split("\n\n", 1)[0].split("\n")
    titled = bool(lines) and lines[0].startswith("= ")
    for number, line in enumerate(lines[titled:]):
        attribute = _ATTRIBUTE.fullmatch(line)
        if attribute:
            found[attribute[1].lower()] = attribute[2]
        elif titled and number == 0 and not line.startswith(("//", "[")):
            found["author"] = line
    return found
