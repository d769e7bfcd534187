"""Index poisoning: a few near-identical passages in the top places of many unrelated queries.

A search shows near-identical passages once, which hides a flood of them from readers; here they are
looked for before they are collapsed. Source of the attack: Zou et al. 2024, PoisonedRAG.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rag_assets.index.base import CheckOutcome
from rag_assets.retrieval.base import Hit

NAME = "index_poisoning"
DEPTH = 5
"""Top places of a query that are looked at."""

_ALIKE = 0.95  # cosine of near-identical passages
_MANY = 0.1  # share of the queries from which a group is reported
_FEWEST_QUERIES = 20


@dataclass(frozen=True, slots=True)
class Takeover:
    """A group of near-identical passages, and the queries whose top places it fills by half."""

    chunk_ids: tuple[str, ...]
    documents: tuple[str, ...]
    queries: tuple[str, ...]


def find_takeovers(
    rankings: Mapping[str, Sequence[Hit]], vectors: Mapping[str, np.ndarray]
) -> list[Takeover]:
    """Groups over more than one document that hold at least half of the top of some query.

    rankings: by query, best first, repeats not collapsed. vectors: of each chunk in them, unit
    length. The group that holds most queries comes first.
    """
    found: dict[int, list[str]] = {}
    groups = _groups(vectors)
    for query, hits in rankings.items():
        top = [groups[hit.chunk_id] for hit in hits[:DEPTH]]
        for group in set(top):
            if 2 * top.count(group) >= max(len(top), 3):
                found.setdefault(group, []).append(query)
    document_of = {hit.chunk_id: hit.doc_id for hits in rankings.values() for hit in hits}
    takeovers = []
    for group, queries in found.items():
        members = tuple(sorted(chunk for chunk, number in groups.items() if number == group))
        documents = tuple(sorted({document_of[chunk] for chunk in members}))
        if len(documents) > 1:
            takeovers.append(Takeover(members, documents, tuple(queries)))
    return sorted(takeovers, key=lambda t: (-len(t.queries), t.chunk_ids))


def judge_poisoning(takeovers: Sequence[Takeover], queries: int) -> CheckOutcome:
    """A warning when one group takes over more than a tenth of the queries.

    `value` is the share that the largest group holds.
    """
    if queries < _FEWEST_QUERIES:
        why = f"nothing to ask: {queries} queries, of at least {_FEWEST_QUERIES}"
        return CheckOutcome(NAME, True, why)
    share = len(takeovers[0].queries) / queries if takeovers else 0.0
    many = [t for t in takeovers if len(t.queries) > _MANY * queries]
    if not many:
        summary = f"no group of near-identical passages holds more than {_MANY:.0%} of the queries"
        return CheckOutcome(NAME, True, summary, share, _MANY)
    worst = many[0]
    summary = (
        f"{len(worst.chunk_ids)} near-identical passages of {', '.join(worst.documents[:3])} fill"
        f" the top of {len(worst.queries)} of {queries} queries; look at them, and delete them or"
        " lower their source's trust"
    )
    rows = [
        {
            "documents": ", ".join(t.documents[:5]),
            "passages": len(t.chunk_ids),
            "queries": len(t.queries),
            "for example": t.queries[0],
        }
        for t in many
    ]
    return CheckOutcome(NAME, False, summary, share, _MANY, details={"takeovers": rows})


def _groups(vectors: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Chunks to the number of their group: each joins the first one whose founder it resembles."""
    names = sorted(vectors)
    if not names:
        return {}
    matrix = np.stack([vectors[name] for name in names])
    alike = matrix @ matrix.T >= _ALIKE
    founder: list[int] = []
    groups: dict[str, int] = {}
    for place, name in enumerate(names):
        joined = next((g for g, first in enumerate(founder) if alike[place, first]), None)
        if joined is None:
            joined = len(founder)
            founder.append(place)
        groups[name] = joined
    return groups
