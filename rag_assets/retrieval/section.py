"""Small passages are found, the section around them answers (parent-child retrieval).

No index of its own: neighbours under the same headings are put together when a passage is shown, so
that every way of cutting documents can do it and no refresh pays for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rag_assets.index.base import OpenVersion, Passage
from rag_assets.retrieval.base import Hit

_SMALLEST = 16  # tokens of a chunk worth a look on either side


def widened(version: OpenVersion, hits: Iterable[Hit], tokens: int, k: int) -> list[Hit]:
    """The first k hits as their sections of up to `tokens` tokens; a section comes once.

    A hit inside a section that is shown already is left out.
    """
    shown: list[Hit] = []
    for hit in hits:
        inside = (
            other.doc_id == hit.doc_id and other.start <= hit.start and hit.end <= other.end
            for other in shown
        )
        if not any(inside):
            [passage] = version.passages([hit.chunk_id])
            some = _section(version, passage, tokens)
            text, start, end = joined(some), some[0].start, max(p.end for p in some)
            shown.append(replace(hit, rank=len(shown) + 1, start=start, end=end, text=text))
        if len(shown) == k:
            break
    return shown


def joined(passages: Sequence[Passage]) -> str:
    """The text from the first to the last; what is between chunks is white space of that length."""
    text, end = "", passages[0].start
    for passage in passages:
        gap = passage.start - end
        between = "\n" * min(gap, 2) + " " * (gap - 2) if gap > 1 else " " * gap
        text += between + passage.text[max(0, -gap) :]
        end = max(end, passage.end)
    return text


def _section(version: OpenVersion, passage: Passage, tokens: int) -> list[Passage]:
    """Neighbours under the same headings, the nearest first, as many as there is room for."""
    around = version.neighbours(passage, max(1, tokens // _SMALLEST))
    here = next(at for at, other in enumerate(around) if other.chunk_id == passage.chunk_id)
    low = high = here
    used = passage.tokens
    grown = True
    while grown:
        grown = False
        for at in (high + 1, low - 1):
            if (
                0 <= at < len(around)
                and around[at].heading == passage.heading
                and used + around[at].tokens <= tokens
            ):
                used += around[at].tokens
                low, high = min(low, at), max(high, at)
                grown = True
    return around[low : high + 1]
