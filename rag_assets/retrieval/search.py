"""A query to ranked passages: candidates from both legs, one filter on both, one score."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from rag_assets.errors import BadRequest, IndexMismatch
from rag_assets.index.base import OpenVersion, Passage
from rag_assets.retrieval.aids import Aids
from rag_assets.retrieval.base import MAX_K, Hit, Location, Mode, QueryEncoder, SearchRequest
from rag_assets.retrieval.candidates import allowed_chunks, find_candidates, merged
from rag_assets.retrieval.diversity import Shown, arrange
from rag_assets.retrieval.question import Question, encode_question
from rag_assets.retrieval.rerank import TokenReranker, open_reranker
from rag_assets.retrieval.scoring import (
    Scores,
    add_feedback,
    add_metadata,
    needs_passages,
    score_hybrid,
    score_one_leg,
)
from rag_assets.retrieval.section import widened
from rag_assets.retrieval.wording import expanded

_POOL = 4  # candidates looked at for each hit wanted, when repeats are collapsed


def search(
    version: OpenVersion, encoder: QueryEncoder, request: SearchRequest, aids: Aids | None = None
) -> list[Hit]:
    """The k best passages that the request may see, best first; k of them if k exist.

    aids: the reranker and rewriter; None is what needs no model beyond the encoder.
    Raises: BadRequest for a query, k or filter that cannot be used; IndexMismatch when the encoder
    is not the one that the version was built with.
    """
    mode = request.mode or request.settings.mode
    _check(version, encoder, request, mode)
    aids = aids or Aids(open_reranker(request.settings.rerank))
    now = request.now or datetime.now(UTC)
    allowed = allowed_chunks(version, request, now)
    with_tokens = (
        mode == "hybrid" and isinstance(aids.reranker, TokenReranker) and version.tokens.available
    )
    text = expanded(request.query, request.settings.synonyms)
    question = _question(encoder, text, mode, with_tokens)
    candidates = find_candidates(version, request, mode, question, allowed)
    for wording in aids.rewrite(text) if aids.rewrite else ():
        other = _question(encoder, wording, mode, False)
        candidates = merged(candidates, find_candidates(version, request, mode, other, allowed))
    if mode == "hybrid":
        scores = score_hybrid(version, request, question, candidates, aids.reranker)
        _second_wave(scores, version, request, question, now)
    else:
        scores = score_one_leg(mode, candidates.dense or candidates.lexical)
    shown = _chosen(version, scores, request)
    if request.explain:
        _fill_in(scores, version, question, [item.place for item in shown])
    hits = _hits(version, scores, shown)
    section = request.settings.section
    return widened(version, hits, section, request.k) if section else hits


def _fill_in(
    scores: Scores, version: OpenVersion, question: Question, places: Sequence[int]
) -> None:
    """What each leg makes of these candidates, also of those it did not find."""
    ids = [scores.ids[place] for place in places]
    legs = {"lexical": dict(version.lexical(question.text, len(ids), ids) if ids else [])}
    if question.vector is not None:
        legs["dense"] = dict(version.dense(question.vector, len(ids), ids) if ids else [])
    for name, found in legs.items():
        raw = scores.raw.setdefault(name, np.full(len(scores.ids), np.nan))
        for place, chunk_id in zip(places, ids, strict=True):
            raw[place] = found.get(chunk_id, raw[place])


def _question(encoder: QueryEncoder, text: str, mode: Mode, with_tokens: bool) -> Question:
    if mode == "lexical":
        return Question(text)
    return encode_question(encoder, text, with_tokens=with_tokens)


def _check(version: OpenVersion, encoder: QueryEncoder, request: SearchRequest, mode: Mode) -> None:
    if not isinstance(request.query, str) or not request.query.strip():
        raise BadRequest(f"query: expected a text that is not empty, found {request.query!r}")
    try:
        request.query.encode()
    except UnicodeEncodeError as error:
        raise BadRequest(
            f"query: expected text, found half a character at place {error.start}"
        ) from error
    if not isinstance(request.k, int) or not 1 <= request.k <= MAX_K:
        raise BadRequest(f"k: expected a whole number from 1 to {MAX_K}, found {request.k!r}")
    if mode not in ("hybrid", "dense", "lexical"):
        raise BadRequest(f"mode: expected hybrid, dense or lexical, found {mode!r}")
    if mode != "lexical" and encoder.fingerprint != version.manifest.model:
        raise IndexMismatch(
            f"index version {version.manifest.version} was built with the embedding model"
            f" {version.manifest.embedding_model} ({version.manifest.model}), the configured one is"
            f" {encoder.fingerprint}; run `rag-assets refresh`, or configure the old model again"
        )


def _second_wave(
    scores: Scores,
    version: OpenVersion,
    request: SearchRequest,
    question: Question,
    now: datetime,
) -> None:
    """Metadata signals, then feedback from whoever leads with them."""
    if not scores.ids:
        return
    if needs_passages(request):
        add_metadata(scores, version.passages(scores.ids), request, now)
    weight = request.settings.weights.feedback
    if weight:
        add_feedback(scores, version.vectors(scores.ids), question, weight)


def _chosen(version: OpenVersion, scores: Scores, request: SearchRequest) -> list[Shown]:
    """The places to show: repeats collapsed, no document ahead of its share."""
    ranked = scores.best_first()[: _POOL * request.k]
    if not ranked:
        return []
    documents = version.columns.document_of
    of_place = {place: documents[scores.ids[place]] for place in ranked}
    vectors: dict[int, np.ndarray] = {}
    if request.settings.duplicates < 1:
        found = version.vectors([scores.ids[place] for place in ranked])
        lengths = np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        vectors = dict(zip(ranked, found / lengths, strict=True))
    settings = request.settings
    k = _POOL * request.k if settings.section else request.k  # several may share a section
    return arrange(ranked, of_place, vectors, settings.duplicates, settings.per_document, k)


def _hits(version: OpenVersion, scores: Scores, shown: Sequence[Shown]) -> list[Hit]:
    places = [place for item in shown for place in (item.place, *item.also)]
    found = version.passages([scores.ids[place] for place in places])
    passages = dict(zip(places, found, strict=True))
    total = scores.total if scores.ids else np.empty(0)
    return [
        _hit(
            rank,
            float(total[item.place]),
            passages[item.place],
            *scores.of(item.place),
            [passages[place] for place in item.also],
        )
        for rank, item in enumerate(shown, start=1)
    ]


def _hit(
    rank: int,
    score: float,
    passage: Passage,
    signals: dict[str, float],
    parts: dict[str, float],
    also: Sequence[Passage],
) -> Hit:
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
        page=passage.page,
        metadata=passage.metadata,
        signals=signals,
        parts=parts,
        also_at=tuple(
            Location(other.uri, other.doc_id, other.chunk_id, other.start, other.end)
            for other in also
        ),
    )
