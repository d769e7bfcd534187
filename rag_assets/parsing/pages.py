"""Repairs that only make sense where text comes page by page and line by line, as from a PDF."""

import re
from collections import Counter
from collections.abc import Sequence

_BREAK = re.compile(r"(\w+)\x02(\w+)")  # pdfium's mark for a hyphen at the end of a line
_NUMBER = re.compile(r"\d{1,5}")
_MOST_NUMBERS = 4  # in a running line
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
    """Pages without the first or last lines that several pages share, but for the page number.

    The first time such a line appears it stays, so that its words can still be found.
    """
    split = [[line for line in page.splitlines() if line.strip()] for page in pages]
    shared = Counter(
        key
        for number, lines in enumerate(split)
        for keys in _edges(lines, number).values()
        for key in keys
    )
    seen: set[str] = set()
    kept_pages = []
    for number, lines in enumerate(split):
        dropped = set()
        for index, keys in _edges(lines, number).items():
            running = [key for key in keys if shared[key] >= _FEWEST]
            if any(key in seen or not any(map(str.isalpha, key[1:])) for key in running):
                dropped.add(index)
            seen.update(running)
        kept_pages.append("\n".join(line for i, line in enumerate(lines) if i not in dropped))
    return kept_pages


def _edges(lines: Sequence[str], page: int) -> dict[int, list[str]]:
    """The outermost lines of a page: index → what a running line has in common on all its pages.

    That is the line itself, or the line with one of its numbers counted from the page's own, marked
    with the end of the page it stands at.
    """
    found = {}
    for depth in range(_EDGE_LINES if len(lines) >= _SHORTEST_PAGE else 0):
        for index, end in ((depth, "^"), (len(lines) - 1 - depth, "$")):
            line = " ".join(lines[index].split())
            keys = [end + line]
            for number in list(_NUMBER.finditer(line))[:_MOST_NUMBERS]:
                counted = f"#{int(number[0]) - page}"
                keys.append(end + line[: number.start()] + counted + line[number.end() :])
            found[index] = keys
    return found


def _joined_lines(page: str) -> str:
    """A page with sentences that run on over the end of a line on one line.

    Only where both halves say so: a long line that ends in a word or comma, and a next line that
    goes on in lower case. Tables, lists, verses and code keep their lines.
    """
    joined: list[str] = []
    before = ""
    for line in page.split("\n"):
        runs_on = (
            len(before) >= _LONG_LINE
            and (before[-1].isalnum() or before[-1] in ",-–)")
            and line[:1].islower()
            and " " in line.strip()
        )
        before = line.rstrip()
        if runs_on:
            joined[-1] = f"{joined[-1]} {before}"
        else:
            joined.append(before)
    return "\n".join(joined)
