"""Running an eval set against a version."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from rag_assets.config import Gate, RetrievalConfig
from rag_assets.embedding.base import Encoder
from rag_assets.embedding.tokens import TokenForm
from rag_assets.evaluation.eval_set import EvalQuery, EvalSet
from rag_assets.evaluation.metrics import REPORTED, is_span_metric, parse_metric
from rag_assets.evaluation.pairing import question_of
from rag_assets.evaluation.report import EvalReport, QueryResult
from rag_assets.evaluation.spans import PassageFinder, Span
from rag_assets.index.base import OpenVersion
from rag_assets.records import digest_of
from rag_assets.retrieval.aids import Aids
from rag_assets.retrieval.base import Hit, SearchRequest
from rag_assets.retrieval.search import search

SearchFn = Callable[[EvalQuery, int], Sequence[Hit]]
"""The k best passages for a query; called again with a larger k when too few documents came."""

AbstainFn = Callable[[EvalQuery, Sequence[Hit]], bool]
"""Whether an answerer says nothing, given the best passages of a query."""


@dataclass(frozen=True, slots=True)
class AskedAnswerer:
    """An answerer that is asked as well, about a sample. passages: how many it is given."""

    abstains: AbstainFn
    passages: int


AT_ONCE = 2
"""Queries of a large set that are searched beside each other: half of a search is not Python."""

_SPANS = 10  # passages whose spans are kept
_ASKED = 40  # queries the answerer is asked: this many unanswerable ones, and as many others
_CHUNKS_A_DOCUMENT = 3  # passages fetched at first for each document wanted
_TIMED = 200  # queries that are asked one at a time; their times are the latency
_DEEPEST = 400  # passages; a document that needs more than this counts as not found


class PreparedEncoder:
    """An encoder that already knows the vectors of some queries, computed in batches."""

    def __init__(self, encoder: Encoder, texts: Iterable[str]) -> None:
        self.fingerprint = encoder.fingerprint
        self.token_form = getattr(encoder, "token_form", None)
        self._encoder: Any = encoder
        self._known = _query_vectors(encoder, list(dict.fromkeys(texts)), self.token_form)

    def encode_query(self, text: str) -> np.ndarray:
        """The vector of one query: float32 (dim,), L2-normalised."""
        known = self._known.get(text)
        return self._encoder.encode_query(text) if known is None else known[0]

    def encode_query_with_tokens(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The vector (dim,) of one query and its token vectors int8 (tokens, dim)."""
        known = self._known.get(text)
        return self._encoder.encode_query_with_tokens(text) if known is None else known


def evaluate(
    version: OpenVersion,
    eval_set: EvalSet,
    search_fn: SearchFn,
    metrics: Sequence[str] = REPORTED,
    answerer: AskedAnswerer | None = None,
    at_once: int = 1,
) -> EvalReport:
    """Ask every query of the set; metrics rank documents by their best chunk.

    A query that raises scores 0 and carries the reason. Documents that the version
    no longer holds are not expected of it; a query left with none is stale.
    answerer: asked about a sample, half of it unanswerable queries where the set has them.
    at_once: how many of the queries after the first 200 may be asked at the same time; those
    have no latency. `search_fn` and `answerer` are then called from several threads.
    """
    asked = _sampled(eval_set) if answerer else frozenset()
    run = _Run(
        frozenset(version.document_ids()),
        PassageFinder(version),
        max(parse_metric(name)[1] for name in metrics if not is_span_metric(name)),
        search_fn,
    )

    def ask(query: EvalQuery) -> QueryResult:
        return run.ask(query, answerer if query.id in asked else None)

    results = [ask(query) for query in eval_set.queries[:_TIMED]]
    others = eval_set.queries[_TIMED:]
    if at_once > 1 and others:
        with ThreadPoolExecutor(at_once) as pool:
            results += [replace(result, milliseconds=None) for result in pool.map(ask, others)]
    else:
        results += map(ask, others)
    return EvalReport(
        version.manifest.version,
        eval_set.name,
        eval_set.content_hash,
        tuple(results),
        tuple(metrics),
    )


def evaluate_version(
    version: OpenVersion,
    eval_set: EvalSet,
    encoder: Encoder,
    retrieval: RetrievalConfig,
    gate: Gate | None = None,
    answerer: AskedAnswerer | None = None,
    aids: Aids | None = None,
    trust: Mapping[str, float] = MappingProxyType({}),
) -> EvalReport:
    """`evaluate` with the knowledge base's own retrieval settings, queries encoded in batches.

    aids, trust: as a search is given them.

    The metrics of the gate's floors are added to those always reported.
    """
    prepared = PreparedEncoder(encoder, (query.query for query in eval_set.queries))
    floors = gate.floors if gate else {}

    def search_fn(query: EvalQuery, k: int) -> Sequence[Hit]:
        request = SearchRequest(
            query.query, k, groups=query.groups, trust=trust, settings=retrieval
        )
        return search(version, prepared, request, aids)

    metrics = tuple(dict.fromkeys((*REPORTED, *floors)))
    return evaluate(version, eval_set, search_fn, metrics, answerer, AT_ONCE)


def _sampled(eval_set: EvalSet) -> frozenset[str]:
    """Unanswerable questions, and as many others, chosen by their ids alone."""
    chosen: list[str] = []
    for answerable in (False, True):
        those = [query for query in eval_set.queries if query.answerable == answerable]
        ids = {question_of(query): query.id for query in reversed(those)}  # each question once
        chosen += sorted(ids.values(), key=digest_of)[:_ASKED]
    return frozenset(chosen)


@dataclass(frozen=True, slots=True)
class _Run:
    """What every query of one evaluation shares."""

    held: frozenset[str]
    finder: PassageFinder
    depth: int
    search_fn: SearchFn

    def ask(self, query: EvalQuery, answerer: AskedAnswerer | None) -> QueryResult:
        """One query's result, whatever happens."""
        relevant = {
            doc_id: grade for doc_id, grade in query.relevant.items() if doc_id in self.held
        }
        missing = tuple(doc_id for doc_id in query.relevant if doc_id not in self.held)
        expected, lost = self.finder.find(query.passages, tuple(relevant))
        wanted = self.depth * _CHUNKS_A_DOCUMENT
        start = time.perf_counter()
        try:
            hits = self.search_fn(query, wanted)
            milliseconds = (time.perf_counter() - start) * 1000
            best = _documents(hits, self.depth)
            while len(best) < self.depth and len(hits) == wanted < _DEEPEST:
                wanted = min(wanted * 4, _DEEPEST)
                hits = self.search_fn(query, wanted)
                best = _documents(hits, self.depth)
            abstained = None if answerer is None else self._abstained(query, answerer)
        except Exception as error:  # noqa: BLE001 - whatever a search raises is a query it failed
            milliseconds = (time.perf_counter() - start) * 1000
            return QueryResult(
                query, relevant, (), (), milliseconds, missing, _reason(error), (), expected, lost
            )
        return QueryResult(
            query,
            relevant,
            tuple(best),
            tuple(best.values()),
            milliseconds,
            missing,
            retrieved=tuple(Span(hit.doc_id, hit.start, hit.end) for hit in hits[:_SPANS]),
            expected=expected,
            lost=lost,
            abstained=abstained,
        )

    def _abstained(self, query: EvalQuery, answerer: AskedAnswerer) -> bool:
        """Asked with a search of its own: what stands where depends on how many are wanted."""
        return answerer.abstains(query, self.search_fn(query, answerer.passages))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _documents(hits: Sequence[Hit], depth: int) -> dict[str, float]:
    """The best documents with the score of their best chunk, in order."""
    best: dict[str, float] = {}
    for hit in hits:
        if len(best) == depth and hit.doc_id not in best:
            break
        best.setdefault(hit.doc_id, hit.score)
    return best


def _query_vectors(
    encoder: Any, texts: Sequence[str], token_form: TokenForm | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Vectors and token vectors by text, in batches where the model treats queries as passages.

    The token vectors are empty for a model that gives none.
    """
    if not texts:
        return {}
    alike = np.allclose(encoder.encode_query(texts[0]), encoder.encode(texts[:1])[0], atol=0.01)
    if token_form is not None and alike:
        return dict(zip(texts, zip(*encoder.encode_with_tokens(texts), strict=True), strict=True))
    if token_form is not None:
        return {text: encoder.encode_query_with_tokens(text) for text in texts}
    vectors = encoder.encode(texts) if alike else [encoder.encode_query(text) for text in texts]
    nothing = np.empty((0, 0), np.int8)
    return {text: (vector, nothing) for text, vector in zip(texts, vectors, strict=True)}
