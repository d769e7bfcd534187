"""Candidates of both legs under one filter: exact, and never short where enough exist."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rag_assets.index.base import OpenVersion
from rag_assets.retrieval.base import SearchRequest
from rag_assets.retrieval.filters import Condition

Scored = list[tuple[str, float]]
Leg = Callable[[int, Sequence[str] | None], Scored]
"""(k, chunk_ids or None) to the k best of those chunks."""

DEPTH = 100
"""Candidates a leg; deeper changes no figure in docs/retrieval.md."""

_IDS_A_STATEMENT = 500


@dataclass(frozen=True)
class Candidates:
    """What each leg found: (chunk_id, score), best first. An unused leg is empty."""

    dense: Scored
    lexical: Scored

    @cached_property
    def _by_leg(self) -> dict[str, dict[str, float]]:
        return {"dense": dict(self.dense), "lexical": dict(self.lexical)}

    def signals(self, chunk_id: str) -> dict[str, float]:
        """The raw score of a chunk from each leg that found it."""
        return {
            name: scores[chunk_id] for name, scores in self._by_leg.items() if chunk_id in scores
        }


def find_candidates(
    version: OpenVersion,
    request: SearchRequest,
    vector: np.ndarray | None,
    condition: Condition,
) -> Candidates:
    """The best chunks of the documents that `condition` holds for, by each leg of the mode.

    A broad condition is tested on the candidates of an unfiltered search; where that leaves too
    few, the chunks of all matching documents are listed and both legs search those only.
    """
    legs = _legs(version, request, vector)
    depth = max(DEPTH, request.k)
    tested = _tested(version, legs, depth, request.k, condition)
    if tested is None:
        allowed = version.chunk_ids(version.document_ids(condition.sql, condition.values))
        tested = [leg(depth, allowed) if allowed else [] for leg in legs.values()]
    found = dict(zip(legs, tested, strict=True))
    return Candidates(found.get("dense", []), found.get("lexical", []))


def _legs(
    version: OpenVersion, request: SearchRequest, vector: np.ndarray | None
) -> dict[str, Leg]:
    def dense(k: int, chunk_ids: Sequence[str] | None) -> Scored:
        assert vector is not None
        return version.dense(vector, k, chunk_ids)

    def lexical(k: int, chunk_ids: Sequence[str] | None) -> Scored:
        return version.lexical(request.query, k, chunk_ids)

    used: dict[str, Leg] = {}
    if request.mode != "lexical":
        used["dense"] = dense
    if request.mode != "dense":
        used["lexical"] = lexical
    return used


def _tested(
    version: OpenVersion, legs: dict[str, Leg], depth: int, k: int, condition: Condition
) -> list[Scored] | None:
    """Unfiltered candidates that pass the condition, or None when a leg has too few of them.

    A leg that gave fewer than asked has no more, so what passes of it is all there is.
    """
    found = [leg(depth, None) for leg in legs.values()]
    allowed = _passing(version, {chunk_id for leg in found for chunk_id, _ in leg}, condition)
    kept = [[item for item in leg if item[0] in allowed] for leg in found]
    exhausted = [len(leg) < depth for leg in found]
    enough = [len(some) >= k or done for some, done in zip(kept, exhausted, strict=True)]
    return kept if all(enough) else None


def _passing(version: OpenVersion, chunk_ids: set[str], condition: Condition) -> set[str]:
    """Those of the chunks whose document the condition holds for."""
    document = {p.chunk_id: p.doc_id for p in version.passages(sorted(chunk_ids))}
    doc_ids = sorted(set(document.values()))
    allowed: set[str] = set()
    for start in range(0, len(doc_ids), _IDS_A_STATEMENT):
        some = doc_ids[start : start + _IDS_A_STATEMENT]
        marks = ", ".join("?" * len(some))
        sql = f"doc_id IN ({marks}) AND ({condition.sql})"
        allowed.update(version.document_ids(sql, (*some, *condition.values)))
    return {chunk_id for chunk_id, doc_id in document.items() if doc_id in allowed}
