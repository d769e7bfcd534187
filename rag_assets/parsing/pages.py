"""Repairs that only make sense where text comes page by page and line by line, as from a PDF."""

import re
from collections import Counter
from collections.abc import Sequence

_BREAK = re.compile(r"(\w+)\x02(\w+)")  # pdfium's mark for a hyphen at the end of a line
_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b", re.IGNORECASE)
_EDGE_LINES = 2
_FEWEST = 3  # pages that share a line at their edge before it counts as a header or footer
_SHORTEST_PAGE = 6  # lines; a shorter page may be nothing but its edges
_LONG_LINE = 40  # characters; a shorter one is a heading, a cell or an item as often as not


def repaired(pages: Sequence[str]) -> list[str]:
    """Page texts with words and sentences mended and running headers and footers taken out."""
    return [_joined_lines(page) for page in _without_running_lines(_joined_words(pages))]


def _joined_words(pages: Sequence[str]) -> list[str]:
    """Words cut at the end of a line, in one piece.

    A real hyphen stays: before a capital or a digit, and where the document also has the word with
    a hyphen in the middle of a line but never without.
    """
    words = Counter(re.findall(r"\w+(?:-\w+)*", " ".join(pages)))

    def joined(match: re.Match[str]) -> str:
        left, right = match.groups()
        hyphenated = f"{left}-{right}"
        kept = right[0].isupper() or right[0].isdigit()
        if kept or (words[hyphenated] and not words[left + right]):
            return hyphenated
        return left + right

    return [_BREAK.sub(joined, page) for page in pages]


def _without_running_lines(pages: Sequence[str]) -> list[str]:
    """Pages without the first or last lines that, but for numbers, several pages share.

    The first time such a line appears it stays, so that its words can still be found.
    """
    split = [[line for line in page.splitlines() if line.strip()] for page in pages]
    edges: Counter[tuple[str, str]] = Counter()
    for lines in split:
        edges.update(set(_edges(lines).values()))
    running = {edge for edge, count in edges.items() if count >= _FEWEST}
    seen: set[tuple[str, str]] = set()
    kept_pages = []
    for lines in split:
        dropped = set()
        for index, edge in _edges(lines).items():
            if edge in running and (edge in seen or edge[1] == "#"):
                dropped.add(index)
            seen.add(edge)
        kept_pages.append("\n".join(line for i, line in enumerate(lines) if i not in dropped))
    return kept_pages


def _edges(lines: Sequence[str]) -> dict[int, tuple[str, str]]:
    """Line index → (which end of the page, the line with numbers as #), for the outermost lines."""
    found = {}
    for depth in range(_EDGE_LINES if len(lines) >= _SHORTEST_PAGE else 0):
        for index, end in ((depth, "top"), (len(lines) - 1 - depth, "bottom")):
            found[index] = (end, _NUMBER.sub("#", " ".join(lines[index].split())))
    return found


def _joined_lines(page: str) -> str:
    """A page with sentences that run on over the end of a line on one line.

    Only where both halves say so: a long line that ends in a word or comma, and a next line that
    goes on in lower case. Tables, lists, verses and code keep their lines.
    """
    joined: list[str] = []
    for line in page.split("\n"):
        before = joined[-1] if joined else ""
        runs_on = (
            len(before) >= _LONG_LINE
            and (before[-1].isalnum() or before[-1] in ",-–)")
            and line[:1].islower()
            and " " in line.strip()
        )
        if runs_on:
            joined[-1] = f"{before} {line.lstrip()}"
        else:
            joined.append(line.rstrip())
    return "\n".join(joined)
