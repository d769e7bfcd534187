"""Candidates of both legs under one filter: exact, and never short where enough exist."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np

from rag_assets.index.base import OpenVersion
from rag_assets.retrieval.base import Mode, SearchRequest
from rag_assets.retrieval.filters import document_filter
from rag_assets.retrieval.question import Question

Scored = list[tuple[str, float]]
Leg = Callable[[int, Sequence[str] | None], Scored]
"""(k, chunk_ids or None) to the k best of those chunks."""

DEPTH = 100
"""Candidates a leg."""

_MARGIN = 1.5  # candidates fetched for each one that a filter of average luck leaves
# Microseconds: a leg asked for one candidate more, and asked about one more allowed chunk.
_DEEPER, _CHOSEN = 10, 2


@dataclass(frozen=True, slots=True)
class Candidates:
    """What each leg found: (chunk_id, score), best first. An unused leg is empty."""

    dense: Scored
    lexical: Scored


class Allowed:
    """The chunks of a version that one request may see."""

    def __init__(self, version: OpenVersion, mask: np.ndarray) -> None:
        self._columns = version.columns
        self._mask = mask
        self._rows = mask[version.columns.chunk_documents]
        self.count = int(self._rows.sum())
        self.share = self.count / max(len(self._rows), 1)

    def __contains__(self, chunk_id: str) -> bool:
        return bool(self._mask[self._columns.document_of[chunk_id]])

    @cached_property
    def chunk_ids(self) -> list[str]:
        """All of them, in document order."""
        every = self._columns.chunk_ids
        return [every[row] for row in np.flatnonzero(self._rows).tolist()]


def find_candidates(
    version: OpenVersion,
    request: SearchRequest,
    mode: Mode,
    question: Question,
    allowed: Allowed | None,
) -> Candidates:
    """The best chunks that are allowed, by each leg of the mode.

    A broad filter is tested on the candidates of a deeper search without it; where it is narrow, or
    where that leaves too few, the legs search the allowed chunks only.
    """
    depth = max(DEPTH, request.k)
    found = {
        name: leg(depth, None) if allowed is None else _filtered(leg, depth, allowed)
        for name, leg in _legs(version, mode, question).items()
    }
    return Candidates(found.get("dense", []), found.get("lexical", []))


def merged(one: Candidates, other: Candidates) -> Candidates:
    """Both, each candidate with the better of its scores."""
    return Candidates(_better(one.dense, other.dense), _better(one.lexical, other.lexical))


def allowed_chunks(version: OpenVersion, request: SearchRequest, now: datetime) -> Allowed | None:
    """What the request may see; None when that is everything. Raises: BadRequest."""
    mask = document_filter(request.where, request.groups, now)(version.columns)
    return None if mask is None or mask.all() else Allowed(version, mask)


def _better(one: Scored, other: Scored) -> Scored:
    best = dict(one)
    for chunk_id, score in other:
        best[chunk_id] = max(score, best.get(chunk_id, score))
    return sorted(best.items(), key=lambda item: (-item[1], item[0]))


def _filtered(leg: Leg, depth: int, allowed: Allowed) -> Scored:
    deeper = int(_MARGIN * depth / allowed.share) if allowed.count else 0
    if _DEEPER * deeper < _CHOSEN * allowed.count:
        found = leg(deeper, None)
        kept = [item for item in found if item[0] in allowed][:depth]
        # A leg that gave fewer than asked has no more, so what passes of it is all there is.
        if len(kept) == depth or len(found) < deeper:
            return kept
    return leg(depth, allowed.chunk_ids) if allowed.count else []


def _legs(version: OpenVersion, mode: Mode, question: Question) -> dict[str, Leg]:
    def dense(k: int, chunk_ids: Sequence[str] | None) -> Scored:
        assert question.vector is not None
        return version.dense(question.vector, k, chunk_ids)

    def lexical(k: int, chunk_ids: Sequence[str] | None) -> Scored:
        return version.lexical(question.text, k, chunk_ids)

    used: dict[str, Leg] = {}
    if mode != "lexical":
        used["dense"] = dense
    if mode != "dense":
        used["lexical"] = lexical
    return used
