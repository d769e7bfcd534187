"""Windows of whole sentences: no chunk begins or ends inside one that fits."""

import re
from collections.abc import Callable, Iterator, Sequence

# The end of a sentence with what closes behind it, an ideographic full stop, or an empty line.
_END = re.compile(r"""[.!?…]["'”’»)\]]*\s+(?=[^\sa-z])|[。！？]["'”’」』）]*\s*|\n\s*\n\s*""")
_NO_END = re.compile(r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|No|vs|etc|e\.g|i\.e|cf|Fig|Eq|approx)\.\s+$")

Count = Callable[[Sequence[str]], list[int]]
"""Texts to their tokens."""


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each sentence without the white space around it."""
    begin = 0
    for end in _END.finditer(text):
        if _NO_END.search(text, max(begin, end.start() - 8), end.end()):
            continue
        yield from _trimmed(text, begin, end.end())
        begin = end.end()
    yield from _trimmed(text, begin, len(text))


def sentence_windows(
    text: str, count: Count, capacity: int, overlap: int
) -> Iterator[tuple[int, int]]:
    """(start, end) of windows of sentences of up to `capacity` tokens together.

    Neighbours share the last sentences of the first one, up to `overlap` tokens. A sentence that is
    too long stands alone; the caller cuts it.
    """
    spans = list(sentence_spans(text))
    sizes = count([text[start:end] for start, end in spans])
    first = 0
    while first < len(spans):
        last, used = first, sizes[first]
        while last + 1 < len(spans) and used + sizes[last + 1] <= capacity:
            last += 1
            used += sizes[last]
        yield spans[first][0], spans[last][1]
        if last + 1 == len(spans):
            return
        first = _shared_from(sizes, first, last, overlap)


def _shared_from(sizes: Sequence[int], first: int, last: int, overlap: int) -> int:
    """Where the next window starts: at the earliest sentence that the overlap has room for."""
    start, shared = last + 1, 0
    while start - 1 > first and shared + sizes[start - 1] <= overlap:
        start -= 1
        shared += sizes[start]
    return start


def _trimmed(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[begin:end]
    if piece.strip():
        yield begin + len(piece) - len(piece.lstrip()), begin + len(piece.rstrip())
