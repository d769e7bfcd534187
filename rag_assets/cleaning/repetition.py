"""Headers, footers and menus that the documents of a source repeat: measured, then left out.

A line is known by its key, a hash of its words, so that a source can be measured without its texts.
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import NamedTuple

import polars as pl

from rag_assets.cleaning.edits import Edit, apply, edited
from rag_assets.parsing.base import Parsed
from rag_assets.records import digest_of

_FEWEST_DOCUMENTS = 10  # below that nothing can be called usual
_SHORTEST_MENU = 3  # lines; a single line in the midst of texts may well mean something
_MOST_LINES = 1000  # at either end of a document; what is further inside is no header or footer
_OWN = -1  # the key of lines that are a document's own, whoever else has them
_WORDLESS = 0
_NUMBER = re.compile(r"\d+")
_FENCE = re.compile(r"\s*(?:```|~~~)")

LINES = pl.Schema({"doc_id": pl.String(), "lines": pl.List(pl.UInt64)})


@dataclass(frozen=True)
class Repetition:
    """The lines that a source repeats, each with the document that keeps it (the first by id)."""

    keepers: Mapping[int, str] = field(default_factory=dict)

    def left_out(self, doc_id: str, lines: Collection[int]) -> frozenset[int]:
        """Which of its lines a document is to be without."""
        return frozenset(line for line in lines if self.keepers.get(line, doc_id) != doc_id)

    def concerned(self, documents: pl.DataFrame) -> dict[str, str]:
        """doc_id → digest of what it is to be without, of the documents that lose anything.

        documents: a `LINES` frame.
        """
        if not self.keepers:
            return {}
        keepers = pl.DataFrame(
            {"lines": list(self.keepers), "keeper": list(self.keepers.values())},
            schema={"lines": pl.UInt64, "keeper": pl.String},
        )
        lost = (
            documents.select("doc_id", "lines")
            .explode("lines")
            .join(keepers, on="lines")
            .filter(pl.col("doc_id") != pl.col("keeper"))
            .sort("lines")
            .group_by("doc_id")
            .agg("lines")
        )
        return {doc_id: digest_of(*map(str, lines))[:16] for doc_id, lines in lost.iter_rows()}


def measure(documents: pl.DataFrame, share: float) -> Repetition:
    """What more than `share` of the documents of one source have in common, line by line.

    documents: a `LINES` frame. Whatever the order of its rows, the result is the same.
    """
    if documents.height < _FEWEST_DOCUMENTS:
        return Repetition()
    lines = documents.select("doc_id", "lines").explode("lines").drop_nulls()
    usual = (
        lines.group_by("lines")
        .len()
        .filter(pl.col("len") > share * documents.height)
        .select("lines")
    )
    keepers = lines.join(usual, on="lines").group_by("lines").agg(pl.col("doc_id").min())
    return Repetition(dict(keepers.iter_rows()))


def line_keys(text: str) -> list[int]:
    """The keys of a document's lines, each once and in order; of a long one those at its ends.

    Lines are compared without case, numbers and spacing.
    """
    lines = text.split("\n")
    if len(lines) > 2 * _MOST_LINES:
        ends = chain(lines[:_MOST_LINES], lines[-_MOST_LINES:])
        text = "\n".join(ends)
    return sorted({line.key for line in _keyed_lines(text)} - {_OWN, _WORDLESS})


def without_lines(parsed: Parsed, left_out: Collection[int]) -> Parsed:
    """The document without these lines at its beginning and end and in menus.

    What stands between its first and last line of its own is only left out in runs of three and
    more; code blocks, and a document that is nothing but repeated lines, stay as they are.
    """
    edits = _repeated_runs(parsed.text, left_out) if left_out else []
    return edited(parsed, edits) if apply(parsed.text, edits).strip() else parsed


def _repeated_runs(text: str, left_out: Collection[int]) -> list[Edit]:
    """What to leave out: whole lines, with the lines without words around them."""
    lines = list(_keyed_lines(text))
    repeated = [line.key in left_out for line in lines]
    own = [i for i, line in enumerate(lines) if line.key != _WORDLESS and not repeated[i]]
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
    """A line of a text: where it is, and what tells it from others."""

    start: int
    end: int
    key: int


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
            key = _WORDLESS
        else:
            key = _key(words)
        yield _Line(start, end, key)
        start = end + 1


def _key(words: str) -> int:
    digest = hashlib.blake2b(words.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") or 1
