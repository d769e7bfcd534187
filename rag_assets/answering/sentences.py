"""Text to sentences with their spans; one line of a list or table is a sentence."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_ABBREVIATIONS = re.compile(
    r"(?:e\.g|i\.e|etc|vs|cf|approx|nos|figs?|ch|vol|pp?|eds?|al|dr|mrs?|ms|prof|st|inc|ltd|co|jr|sr"
    r"|dept|est|jan|feb|apr|jun|jul|aug|sept?|oct|nov|dec)"
)
_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？]+[」』”]*")
_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*+•>]\s|#{1,6}\s|\||\d+[.)]\s|```))|(?<=\|)\n")
_HEADING = re.compile(r"\s*#{1,6}\s+(.*)")
_UNDERLINE = re.compile(r"[=\-~^\"'`*+#:.]{3,}")
_MARKUP = re.compile(r"^\s*(?:[-*+•>]|\d+[.)]|#{1,6})\s+|\*\*|__|`|(?<!\w)\*(?=\S)|(?<=\S)\*(?!\w)")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)")
_CELLS = re.compile(r"\s*\|\s*")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and where it stands; `heading` is the last heading above it in the text."""

    start: int
    end: int
    text: str
    heading: str = ""


def sentences(text: str) -> list[Sentence]:
    """The sentences of a text in order, without headings, rules and empty lines.

    Every sentence is exactly `text[start:end]`.
    """
    found: list[Sentence] = []
    heading = ""
    for start, end in _blocks(text):
        block = text[start:end]
        titled = _HEADING.fullmatch(block) or _underlined(block)
        if titled:
            heading = plain(titled.group(1))
            continue
        found += [
            Sentence(start + a, start + b, block[a:b], heading)
            for a, b in _sentence_spans(block)
            if any(character.isalnum() for character in block[a:b])
        ]
    return found


def plain(text: str) -> str:
    """The words of a sentence without markdown: bullets, emphasis, links and table bars."""
    text = _LINK.sub(r"\1", text)
    if "|" in text:
        text = "; ".join(cell for cell in _CELLS.split(text) if cell.strip(" -:"))
    return " ".join(_MARKUP.sub("", text).split())


def _underlined(block: str) -> re.Match[str] | None:
    """A reStructuredText or setext heading: one short line and a line of punctuation."""
    lines = block.strip().split("\n")
    if len(lines) == 2 and _UNDERLINE.fullmatch(lines[1].strip()) and len(lines[0]) < 100:
        return re.fullmatch(r"(.*)", lines[0].strip())
    return None


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Paragraphs, list items and table rows, trimmed."""
    start = 0
    for boundary in [*(match.span() for match in _BLOCK.finditer(text)), (len(text), len(text))]:
        yield from _trimmed(text, start, boundary[0])
        start = boundary[1]


def _sentence_spans(block: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _END.finditer(block):
        if _abbreviated(block[start : match.start()]) and match.group().startswith("."):
            continue
        yield from _trimmed(block, start, match.end())
        start = match.end()
    yield from _trimmed(block, start, len(block))


def _abbreviated(before: str) -> bool:
    """Whether a full stop after this text ends an abbreviation, an initial or a list number."""
    words = before.split()
    last = words[-1].lstrip("(\"'“").lower() if words else ""
    initial = len(last) == 1 and last.isalpha() and last != "i"
    return bool(_ABBREVIATIONS.fullmatch(last)) or initial or (len(words) == 1 and last.isdecimal())


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    kept = piece.strip()
    if kept:
        begin = start + len(piece) - len(piece.lstrip())
        yield begin, begin + len(kept)
