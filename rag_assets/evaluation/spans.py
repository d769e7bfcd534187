"""Which characters were found: expected passages against retrieved ones, by span.

Documents say whether the right page came; spans say whether the right lines came, and how much
else with them. That is what a chunker is judged by.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rag_assets.index.base import OpenVersion, Passage


class Span(NamedTuple):
    """Characters `start` to `end` of a document's text."""

    doc_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """Characters expected, retrieved, and both; retrieved ones count as often as they came."""

    expected: int
    retrieved: int
    both: int

    @property
    def recall(self) -> float:
        """Expected characters that were retrieved, of all expected."""
        return self.both / self.expected if self.expected else 0.0

    @property
    def precision(self) -> float:
        """Expected characters among those retrieved; reading a stretch twice is not excused."""
        return self.both / self.retrieved if self.retrieved else 0.0

    @property
    def iou(self) -> float:
        """Intersection over union: what is missing and what is superfluous both count.

        Source: Smith and Troynikov 2024, Evaluating Chunking Strategies for Retrieval.
        """
        union = self.expected + self.retrieved - self.both
        return self.both / union if union else 0.0


def overlap(retrieved: Sequence[Span], expected: Sequence[Span]) -> Overlap:
    """Compare the spans of retrieved passages with those of expected ones."""
    wanted, found = _merged(expected), _merged(retrieved)
    both = sum(
        max(0, min(end, other_end) - max(start, other_start))
        for doc_id, stretches in wanted.items()
        for start, end in stretches
        for other_start, other_end in found.get(doc_id, ())
    )
    size = sum(end - start for stretches in wanted.values() for start, end in stretches)
    return Overlap(size, sum(span.end - span.start for span in retrieved), both)


def _merged(spans: Iterable[Span]) -> dict[str, list[tuple[int, int]]]:
    """Disjoint stretches by document, in order."""
    merged: dict[str, list[tuple[int, int]]] = {}
    for doc_id, start, end in sorted(spans):
        stretches = merged.setdefault(doc_id, [])
        if stretches and start <= stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], max(stretches[-1][1], end))
        else:
            stretches.append((start, end))
    return merged


class PassageFinder:
    """Finds texts in the documents of a version by their letters and digits alone.

    So neither line breaks nor markup nor chunk borders between the words matter.
    """

    def __init__(self, version: OpenVersion) -> None:
        self._version = version
        self._known: dict[str, tuple[str, list[int]]] = {}

    def find(
        self, texts: Sequence[str], doc_ids: Sequence[str]
    ) -> tuple[tuple[Span, ...], tuple[str, ...]]:
        """Where the texts stand in these documents, and the texts that stand in none of them."""
        spans, lost = [], []
        for text in texts:
            places = [span for doc_id in doc_ids for span in self._find(text, doc_id)]
            spans += places
            lost += [] if places else [text]
        return tuple(spans), tuple(lost)

    def _find(self, text: str, doc_id: str) -> list[Span]:
        wanted = "".join(_characters(text))
        if doc_id not in self._known:
            self._known[doc_id] = _searchable(
                self._version.passages(self._version.chunk_ids([doc_id]))
            )
        content, places = self._known[doc_id]
        at = content.find(wanted) if wanted else -1
        return [] if at < 0 else [Span(doc_id, places[at], places[at + len(wanted) - 1] + 1)]


def _searchable(chunks: Sequence[Passage]) -> tuple[str, list[int]]:
    """The letters and digits of a document, and where in its text each of them stands."""
    characters: list[str] = []
    places: list[int] = []
    reached = 0
    for chunk in sorted(chunks, key=lambda chunk: (chunk.start, chunk.end)):
        for place, character in enumerate(chunk.text, start=chunk.start):
            if place >= reached and character.isalnum():
                characters.append(character.casefold()[:1])
                places.append(place)
        reached = max(reached, chunk.start + len(chunk.text))
    return "".join(characters), places


def _characters(text: str) -> Iterable[str]:
    return (character.casefold()[:1] for character in text if character.isalnum())


SPAN_METRICS: Mapping[str, str] = {
    "span_recall": "recall",
    "span_precision": "precision",
    "span_iou": "iou",
}
"""Metric kind to the figure of an `Overlap`."""
