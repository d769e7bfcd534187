"""A query to ranked passages: candidates from both legs, one filter on both, one fused score."""

from datetime import UTC, datetime

from rag_assets.errors import BadRequest, IndexMismatch
from rag_assets.index.base import OpenVersion, Passage
from rag_assets.retrieval.base import MAX_K, Hit, QueryEncoder, SearchRequest
from rag_assets.retrieval.candidates import (
    DEPTH,
    Candidates,
    allowed_chunks,
    find_candidates,
)
from rag_assets.retrieval.fusion import best_first, weighted_sum, z_scores


def search(version: OpenVersion, encoder: QueryEncoder, request: SearchRequest) -> list[Hit]:
    """The k best passages that the request may see, best first; k of them if k exist.

    Raises: BadRequest for a query, k or filter that cannot be used; IndexMismatch when the encoder
    is not the one that the version was built with.
    """
    _check(version, encoder, request)
    now = request.now or datetime.now(UTC)
    allowed = allowed_chunks(version, request, now)
    vector = None if request.mode == "lexical" else encoder.encode_query(request.query)
    candidates = find_candidates(version, request, vector, allowed)
    ranked = _fused(candidates)[: request.k]
    passages = version.passages([chunk_id for chunk_id, _ in ranked])
    return [
        _hit(rank, score, passage, candidates)
        for rank, ((_, score), passage) in enumerate(zip(ranked, passages, strict=True), start=1)
    ]


def _check(version: OpenVersion, encoder: QueryEncoder, request: SearchRequest) -> None:
    if not isinstance(request.query, str) or not request.query.strip():
        raise BadRequest(f"query: expected a text that is not empty, found {request.query!r}")
    if not isinstance(request.k, int) or not 1 <= request.k <= MAX_K:
        raise BadRequest(f"k: expected a whole number from 1 to {MAX_K}, found {request.k!r}")
    if request.mode not in ("hybrid", "dense", "lexical"):
        raise BadRequest(f"mode: expected hybrid, dense or lexical, found {request.mode!r}")
    if request.mode != "lexical" and encoder.fingerprint != version.manifest.model:
        raise IndexMismatch(
            f"index version {version.manifest.version} was built with the embedding model"
            f" {version.manifest.embedding_model} ({version.manifest.model}), the configured one is"
            f" {encoder.fingerprint}; run `rag-assets refresh`, or configure the old model again"
        )


def _fused(candidates: Candidates) -> list[tuple[str, float]]:
    """Candidates best first: a single leg by its own scores, both by the mean of z-scores."""
    legs = {"dense": dict(candidates.dense), "lexical": dict(candidates.lexical)}
    used = {name: scores for name, scores in legs.items() if scores}
    if len(used) == 1:
        [scores] = used.values()
        return best_first(scores)
    if len(legs["lexical"]) < DEPTH:
        # All that match are here, so BM25 of the others is 0. Without them a word that only one
        # passage holds would have no spread, and its match would count for nothing.
        used["lexical"] = dict.fromkeys(legs["dense"], 0.0) | legs["lexical"]
    signals = {name: z_scores(scores) for name, scores in used.items()}
    return best_first(weighted_sum(signals, dict.fromkeys(signals, 0.5)))


def _hit(rank: int, score: float, passage: Passage, candidates: Candidates) -> Hit:
    return Hit(
        rank=rank,
        score=score,
        uri=passage.uri,
        doc_id=passage.doc_id,
        chunk_id=passage.chunk_id,
        source=passage.source,
        title=passage.title,
        heading=passage.heading,
        start=passage.start,
        end=passage.end,
        text=passage.text,
        metadata=passage.metadata,
        signals=candidates.signals(passage.chunk_id),
    )
