"""Changing a text without losing the places in it."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rag_assets.parsing.base import Heading, Page, Parsed


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters start to end of a text become `replacement`."""

    start: int
    end: int
    replacement: str = ""


def apply(text: str, edits: Sequence[Edit]) -> str:
    """The text with edits made; they are in order and do not overlap."""
    parts = []
    position = 0
    for edit in edits:
        parts += [text[position : edit.start], edit.replacement]
        position = edit.end
    return "".join([*parts, text[position:]])


def edited(parsed: Parsed, edits: Sequence[Edit]) -> Parsed:
    """The document with edits made to its text, its headings and pages moved along.

    A heading or page that starts within a replaced part starts where its replacement does; a
    heading whose line is removed whole is dropped.
    """
    if not edits:
        return parsed
    starts = [edit.start for edit in edits]
    # shifts[i]: how far text behind the first i edits has moved.
    shifts = [0]
    for edit in edits:
        shifts.append(shifts[-1] + len(edit.replacement) - (edit.end - edit.start))

    def moved(place: int) -> int:
        before = bisect_right(starts, place)
        inside = before and place < edits[before - 1].end
        return edits[before - 1].start + shifts[before - 1] if inside else place + shifts[before]

    def kept(heading: Heading) -> bool:
        before = bisect_right(starts, heading.start)
        edit = edits[before - 1] if before else None
        removed = edit is not None and not edit.replacement
        return not removed or edit is None or edit.end < heading.start + len(heading.title)

    text = apply(parsed.text, edits)
    last = max(len(text) - 1, 0)
    headings = [h for h in parsed.headings if kept(h)]
    return replace(
        parsed,
        text=text,
        headings=tuple(replace(h, start=min(moved(h.start), last)) for h in headings),
        pages=tuple(Page(min(moved(p.start), last), p.number) for p in parsed.pages),
    )
