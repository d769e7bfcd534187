"""Growing the eval set: drafts from chunks and from the questions that went badly."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing

from rag_assets.answering.llm import LanguageModel
from rag_assets.answering.models import EXTRACTIVE
from rag_assets.answering.prompt import Prompt
from rag_assets.cleaning.pii import redacted_text
from rag_assets.config import PiiConfig
from rag_assets.costs import Purse
from rag_assets.errors import LlmError
from rag_assets.evaluation.candidates import Candidate, from_model, from_templates
from rag_assets.evaluation.query_log import LoggedQuestion, logged_questions
from rag_assets.evaluation.queue import Queue, without_repeats
from rag_assets.index.base import Passage
from rag_assets.index.live import LiveIndex
from rag_assets.index.passages import PassageStore
from rag_assets.records import digest_of
from rag_assets.refresh.eval_sets import eval_sets
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.retrieval.base import SearchRequest
from rag_assets.retrieval.search import search

log = logging.getLogger(__name__)

_CONFIDENT = 0.5  # answers below this went badly
_SUGGESTED = 3  # documents shown beside a logged question
_EVERYTHING = PiiConfig(mode="redact")
_DRAFTS = 4  # chunks tried for each candidate wanted; many give no question or a known one


def propose(
    pipeline: Pipeline, count: int, *, chunks: bool = True, questions: bool = True
) -> list[Candidate]:
    """Put up to `count` new candidates into the queue; returns them.

    Logged questions come first: people asked them. Personal data and secrets are taken out of
    everything; what the eval sets or the queue already ask is left out.

    Raises: LlmError when a configured model cannot be used at all; IndexNotReady.
    """
    version = pipeline.versions.live().version
    queue = Queue(pipeline.storage)
    known = [query.query for one in eval_sets(pipeline, version) for query in one.queries]
    known += [candidate.query for candidate in queue.all()]
    known += [c.origin["drafted"] for c in queue.all() if "drafted" in c.origin]
    encoder = pipeline.encoder()
    known_vectors = encoder.encode(known)
    found: list[Candidate] = []
    for draft in _drafts(pipeline, version, known, chunks=chunks, questions=questions):
        scrubbed = _scrubbed(draft)
        vectors = encoder.encode([candidate.query for candidate in (*found, scrubbed)])
        if len(without_repeats([*found, scrubbed], vectors, known, known_vectors)) > len(found):
            found.append(scrubbed)
        if len(found) == count:
            break
    if found:
        queue.add(found)
    return found


def _drafts(
    pipeline: Pipeline, version: int, known: Sequence[str], *, chunks: bool, questions: bool
) -> Iterator[Candidate]:
    if questions:
        yield from _from_log(pipeline, version)
    if chunks:
        yield from _from_chunks(pipeline, version)


def _from_log(pipeline: Pipeline, version: int) -> Iterator[Candidate]:
    """Questions that found nothing, were not answered, or with little confidence."""
    live = LiveIndex(pipeline.storage)
    try:
        with live.read(version) as opened:
            logged = logged_questions(pipeline.storage, pipeline.config.name)
            # What readers judged comes first: they know what they had hoped for.
            for question in sorted(logged, key=lambda one: one.rating != "down"):
                if question.failed(_CONFIDENT):
                    request = SearchRequest(question.text, 10, settings=pipeline.config.retrieval)
                    hits = search(opened, pipeline.encoder(), request)
                    came = tuple(dict.fromkeys(hit.doc_id for hit in hits))[:_SUGGESTED]
                    yield Candidate(question.text, came, (), None, _log_origin(question, version))
    finally:
        live.close()


def _log_origin(question: LoggedQuestion, version: int) -> dict[str, str]:
    comment = f": {question.comment}" if question.comment else ""
    why = (
        f"a reader judged it wrong{comment}"
        if question.rating == "down"
        else "nothing was found"
        if not question.found
        else "it was not answered"
        if question.abstained
        else f"confidence {question.confidence:.2f}"
    )
    return {"kind": "log", "why": why, "asked_at": question.at, "index_version": str(version)}


def _from_chunks(pipeline: Pipeline, version: int) -> Iterator[Candidate]:
    """Drafts from chunks, documents that no query expects first, one a document at a time."""
    model = None
    if pipeline.config.llm.model != EXTRACTIVE:
        purse = Purse.of(pipeline.config.costs, pipeline.ledger)
        model = LanguageModel(pipeline.config.llm, purse=purse)
        model.check()
    for passage in _passages(pipeline, version):
        if model is None:
            draft = from_templates(passage, version)
        else:
            try:
                draft = from_model(
                    passage,
                    version,
                    lambda messages: model.complete(Prompt([dict(m) for m in messages])).text,
                    model.name,
                )
            except LlmError as error:
                log.warning("%s: %s", passage.chunk_id, error)
                draft = from_templates(passage, version)
        if draft is not None:
            yield draft


def _passages(pipeline: Pipeline, version: int) -> Iterator[Passage]:
    """One chunk of every document, then another of every document, and so on."""
    expected = {
        doc_id
        for one in eval_sets(pipeline, version)
        for query in one.queries
        for doc_id in query.relevant
    }
    with closing(PassageStore.open(pipeline.versions.directory(version))) as store:
        order = sorted(store.document_ids(), key=lambda d: (d in expected, digest_of(d)))
        chunks = {doc_id: store.chunk_ids([doc_id]) for doc_id in order}
        for turn in range(_DRAFTS):
            for doc_id in order:
                if turn < len(chunks[doc_id]):
                    chosen = sorted(chunks[doc_id], key=digest_of)[turn]
                    yield store.passages([chosen])[0]


def _scrubbed(candidate: Candidate) -> Candidate:
    """Without personal data; a passage that had some is dropped, for it would match nothing."""
    clean = tuple(p for p in candidate.passages if redacted_text(p, _EVERYTHING) == p)
    answer = candidate.answer and redacted_text(candidate.answer, _EVERYTHING)
    return Candidate(
        redacted_text(candidate.query, _EVERYTHING),
        candidate.relevant,
        clean,
        answer,
        {name: redacted_text(value, _EVERYTHING) for name, value in candidate.origin.items()},
    )
