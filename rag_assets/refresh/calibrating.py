"""When and on what confidence is learnt: for a version, on a sample of the eval sets.

It holds from the version's promotion on. Where the gate asks whether answers abstain, it is learnt
before and kept with the version's evidence.

A calibration is kept while the eval sets, the embedding model and the search settings are the same
and the index has about the size it was learnt on, so that a refresh of little does not pay for it.
"""

import logging
from collections.abc import Iterator, Sequence

from rag_assets.answering.answer import Answerer
from rag_assets.answering.calibration import Learnt, Sample, learn, load, save
from rag_assets.answering.confidence import NOTHING_WITHHELD, recipe_of
from rag_assets.answering.extractive import Encode
from rag_assets.config import LlmConfig
from rag_assets.errors import RagError
from rag_assets.evaluation.eval_set import EvalQuery, EvalSet
from rag_assets.evaluation.pairing import question_of
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.records import digest_of
from rag_assets.refresh.eval_sets import eval_sets
from rag_assets.refresh.pipeline import Pipeline

log = logging.getLogger(__name__)

_QUERIES = 100  # asked twice each; with 60 the threshold, which hangs on few answers, varies more
_FEWEST = 20  # judged queries below which nobody is asked
_DEEPER = 6  # passages looked at for each used, to have some left when the right ones are left out


def calibrate_if_due(pipeline: Pipeline, version: int) -> Learnt | None:
    """Learn if what was learnt does not hold any more; what holds now, or None.

    Never fails a promotion: what goes wrong is logged, and answers say that they are uncalibrated.
    """
    try:
        return calibrate(pipeline, version)
    except RagError as error:
        log.warning("confidence was not calibrated: %s", error)
        return None


def calibrate(pipeline: Pipeline, version: int, *, anew: bool = False) -> Learnt | None:
    """What holds for a version from now on; learnt now where it has to be, or `anew`."""
    learnt = calibration_for(pipeline, version, anew=anew)
    if learnt is not None and learnt != load(pipeline.storage):
        save(pipeline.storage, learnt)
    return learnt


def calibration_for(pipeline: Pipeline, version: int, *, anew: bool = False) -> Learnt | None:
    """What will hold for a version once it is live; None where there is too little to learn from.

    It is kept with the version's evidence, where no answer sees it.
    """
    sets = eval_sets(pipeline, version)
    asked = {question_of(query): query for one in sets for query in reversed(one.queries)}
    queries = list(asked.values())  # each question once
    if sum(query.answerable for query in queries) < _FEWEST:
        return None
    known = None if anew else known_calibration(pipeline, version, sets)
    if known is not None:
        return known
    with KnowledgeBase(pipeline.config) as knowledge:
        samples = list(samples_of(knowledge, version, _sampled(queries), pipeline.sentences.encode))
    calibration = learn(samples)
    if calibration is None:
        return None
    key, recipe, chunks = _wanted(pipeline, version, sets)
    learnt = Learnt(calibration, key, recipe, version, chunks)
    save(pipeline.storage, learnt, version)
    return learnt


def known_calibration(pipeline: Pipeline, version: int, sets: Sequence[EvalSet]) -> Learnt | None:
    """What was learnt already and holds for a version; nothing is learnt for it."""
    key, recipe, chunks = _wanted(pipeline, version, sets)
    for before in (load(pipeline.storage), load(pipeline.storage, version)):
        if before and before.key == key and before.fits(recipe, chunks):
            return before
    return None


def _wanted(pipeline: Pipeline, version: int, sets: Sequence[EvalSet]) -> tuple[str, str, int]:
    """(key, recipe, chunks) of what holds for a version."""
    manifest = pipeline.versions.manifest(version)
    recipe = recipe_of(pipeline.config, manifest.model)
    key = digest_of(recipe, *(one.content_hash for one in sets))
    return key, recipe, manifest.chunks


def _sampled(queries: Sequence[EvalQuery]) -> list[EvalQuery]:
    """Unanswerable ones up to a third, chosen by their texts alone."""
    ordered = sorted(queries, key=lambda query: digest_of(query.query))
    unanswerable = [query for query in ordered if not query.answerable][: _QUERIES // 3]
    answerable = [query for query in ordered if query.answerable]
    return [*answerable[: _QUERIES - len(unanswerable)], *unanswerable]


def samples_of(
    knowledge: KnowledgeBase, version: int, queries: Sequence[EvalQuery], encode: Encode
) -> Iterator[Sample]:
    """What there is to learn from each query: answers of the built-in model, which costs nothing.

    Those that the version can answer are asked again without the documents that do.
    """
    answerer = Answerer(LlmConfig(), encode)
    k = knowledge.config.retrieval.k
    for query in queries:
        found = knowledge.search(query.query, _DEEPER * k, groups=query.groups, version=version)
        variants = [(list(found), query.answerable, False)]
        if query.answerable:
            without = [hit for hit in found if hit.doc_id not in query.relevant]
            variants.append((without, False, True))
        for hits, known, made in variants:
            answer = answerer.answer(query.query, hits, version, k, NOTHING_WITHHELD)
            cited = answer.citations[0].doc_id if answer.citations else None
            right = known and cited in query.relevant
            yield Sample(query.id + query.query, answer.signals, right, known, made)
