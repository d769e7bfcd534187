"""Headers, footers and menus that the documents of a source repeat: measured, then left out."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from rag_assets.cleaning.edits import Edit, apply, edited
from rag_assets.parsing.base import Parsed
from rag_assets.records import digest_of

_FEWEST_DOCUMENTS = 10  # below that nothing can be called usual
_SHORTEST_MENU = 3  # lines; a single line in the midst of texts may well mean something
_OWN = "code"  # the key of lines that are a document's own, whoever else has them
_NUMBER = re.compile(r"\d+")
_FENCE = re.compile(r"\s*(?:```|~~~)")


@dataclass(frozen=True)
class Repetition:
    """The lines that a source repeats, each with the document that keeps it (the first by id)."""

    keepers: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Equal for equal repetitions: part of what made a cleaned document."""
        return digest_of(*(f"{line} {keeper}" for line, keeper in sorted(self.keepers.items())))


def measure(documents: Iterable[tuple[str, str]], share: float) -> Repetition:
    """What more than `share` of the (doc_id, text) of one source have in common, line by line.

    Lines are compared without case, numbers and spacing.
    """
    counts: Counter[str] = Counter()
    keepers: dict[str, str] = {}
    total = 0
    for doc_id, text in documents:
        total += 1
        for key in {line.key for line in _keyed_lines(text)} - {_OWN, ""}:
            counts[key] += 1
            keepers[key] = min(doc_id, keepers.get(key, doc_id))
    if total < _FEWEST_DOCUMENTS:
        return Repetition()
    return Repetition({key: keepers[key] for key, n in counts.items() if n > share * total})


def without_repetition(doc_id: str, parsed: Parsed, repetition: Repetition) -> Parsed:
    """The document without the repeated lines at its beginning and end and in menus.

    What stands between its first and last line of its own is only left out in runs of three and
    more; code blocks, and a document that is nothing but repeated lines, stay as they are.
    """
    edits = _repeated_runs(doc_id, parsed.text, repetition) if repetition.keepers else []
    return edited(parsed, edits) if apply(parsed.text, edits).strip() else parsed


def _repeated_runs(doc_id: str, text: str, repetition: Repetition) -> list[Edit]:
    """What to leave out: whole lines, with the lines without words around them."""
    lines = list(_keyed_lines(text))
    repeated = [repetition.keepers.get(line.key, doc_id) != doc_id for line in lines]
    own = [i for i, line in enumerate(lines) if line.key and not repeated[i]]
    runs = []
    for before, behind in pairwise([-1, *own, len(lines)]):
        found = [i for i in range(before + 1, behind) if repeated[i]]
        first, last = before < 0, behind == len(lines)
        if not found or not (first or last or len(found) >= _SHORTEST_MENU):
            continue
        start = 0 if first else lines[before].end if last else lines[found[0]].start
        runs.append(Edit(start, len(text) if last else lines[behind].start))
    return runs


class _Line(NamedTuple):
    """A line of a text: where it is, and what tells it from others; no key without words."""

    start: int
    end: int
    key: str


def _keyed_lines(text: str) -> Iterator[_Line]:
    start = 0
    in_code = False
    for line in text.split("\n"):
        end = start + len(line)
        fence = bool(_FENCE.match(line))
        words = " ".join(_NUMBER.sub("#", line.casefold()).split())
        if in_code or fence:
            in_code ^= fence
            key = _OWN
        elif sum(map(str.isalnum, words)) < 2:
            key = ""
        else:
            key = hashlib.blake2b(words.encode(), digest_size=8).hexdigest()
        yield _Line(start, end, key)
        start = end + 1
