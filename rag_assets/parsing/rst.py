"""reStructuredText."""

import re

from rag_assets.parsing.base import Heading, Parsed
from rag_assets.parsing.building import clean_metadata, clean_title, first_title
from rag_assets.parsing.front_matter import header_fields
from rag_assets.parsing.text import readable

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}")
_ROLE = re.compile(r":[\w:+.-]+:`([^`<]*?)(?: *<[^`>]*>)?`")
_LINK = re.compile(r"`([^`<]+?) *<[^`>]+>`_{1,2}")


def parse_rst(data: bytes, name: str) -> Parsed:
    """The source itself; header fields (as PEPs have) and the docinfo also go to the metadata."""
    text = readable(data)
    headings = rst_headings(text)
    metadata = header_fields(text)
    if not metadata and headings and headings[0].start < 1000:
        below = text[headings[0].start :].split("\n\n", 2)
        metadata = header_fields(below[1]) if len(below) > 1 else {}
    title = clean_title(metadata.pop("title", None)) or first_title(headings)
    return Parsed(text, title, "text/x-rst", tuple(headings), metadata=clean_metadata(metadata))


def rst_headings(text: str) -> list[Heading]:
    """Section titles in order; a style's level is the order in which the styles appear."""
    lines = text.split("\n")
    starts = _line_starts(lines)
    styles: list[str] = []
    found = []
    taken = -1
    for i, line in enumerate(lines):
        if i <= taken or not _ADORNMENT.fullmatch(line) or i == 0:
            continue
        title = lines[i - 1]
        if not title.strip() or _ADORNMENT.fullmatch(title) or i - 1 <= taken:
            continue
        over = lines[i - 2] if i > 1 else ""
        overlined = over[:1] == line[0] and bool(_ADORNMENT.fullmatch(over))
        # A title is not indented unless it is overlined; an underline is not much shorter.
        if (title[0] in " \t" and not overlined) or len(line) < 0.7 * len(title.strip()):
            continue
        above = over.strip() and not _ADORNMENT.fullmatch(over) and not over.startswith(".. ")
        if above and not overlined:
            continue  # the last line of a paragraph or table, not a title of its own
        style = line[0] + ("!" if overlined else "")
        if style not in styles:
            styles.append(style)
        first = i - 2 if overlined else i - 1
        level = min(styles.index(style) + 1, 6)
        found.append(Heading(starts[first], level, _plain(title)))
        taken = i
    return found


def _line_starts(lines: list[str]) -> list[int]:
    starts = []
    position = 0
    for line in lines:
        starts.append(position)
        position += len(line) + 1
    return starts


def _plain(title: str) -> str:
    title = _LINK.sub(r"\1", _ROLE.sub(r"\1", title[:1000]))
    return " ".join(title.replace("``", "").replace("**", "").split())
