"""What a result shows of passages that say the same, and of documents that say much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rag_assets.retrieval.products import serial_products


@dataclass
class Shown:
    """A candidate that a result shows, and the repeats it stands for: places among candidates."""

    place: int
    also: list[int] = field(default_factory=list)


def arrange(
    ranked: Sequence[int],
    documents: Mapping[int, int],
    vectors: Mapping[int, np.ndarray],
    cosine: float,
    per_document: int,
    k: int,
) -> list[Shown]:
    """The k candidates to show, best first; fewer only where there are fewer candidates.

    ranked: places, best first. documents: of each place. vectors: of each place, unit length; empty
    where nothing is to be collapsed. Passages of different documents with a cosine of at least
    `cosine` are shown once (neighbours in one document overlap by design). What a document has
    beyond `per_document` comes after everything else; repeats fill a result that would be short.
    """
    distinct = _collapsed(ranked, documents, vectors, cosine) if vectors else _each(ranked)
    shown = _spread(distinct, documents, per_document)[:k]
    order = {place: rank for rank, place in enumerate(ranked)}
    repeats = sorted((place for item in shown for place in item.also), key=order.__getitem__)
    filling = set(repeats[: k - len(shown)])
    for item in shown:
        item.also = [place for place in item.also if place not in filling]
    return shown + [Shown(place) for place in repeats if place in filling]


def _each(ranked: Sequence[int]) -> list[Shown]:
    return [Shown(place) for place in ranked]


def _collapsed(
    ranked: Sequence[int],
    documents: Mapping[int, int],
    vectors: Mapping[int, np.ndarray],
    cosine: float,
) -> list[Shown]:
    matrix = np.stack([vectors[place] for place in ranked])
    same: np.ndarray = np.tril(serial_products(matrix, matrix) >= cosine, -1)
    resembling = np.any(same, axis=1)  # few do: the others need no look at those before them
    shown: dict[int, Shown] = {}
    for rank, place in enumerate(ranked):
        earlier = np.flatnonzero(same[rank]).tolist() if resembling[rank] else ()
        for other in earlier:
            if other in shown and documents[ranked[other]] != documents[place]:
                shown[other].also.append(place)
                break
        else:
            shown[rank] = Shown(place)
    return list(shown.values())


def _spread(shown: Sequence[Shown], documents: Mapping[int, int], per_document: int) -> list[Shown]:
    counts: dict[int, int] = {}
    first: list[Shown] = []
    later: list[Shown] = []
    for item in shown:
        document = documents[item.place]
        counts[document] = counts.get(document, 0) + 1
        (first if counts[document] <= per_document else later).append(item)
    return first + later
