"""Judging a version: evaluate it and the live one on the same queries, keep the evidence."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

from rag_assets.answering.answer import Answerer
from rag_assets.answering.calibration import Learnt
from rag_assets.answering.confidence import UNCALIBRATED
from rag_assets.answering.extractive import Encode
from rag_assets.answering.models import EXTRACTIVE
from rag_assets.answering.search_aids import open_aids
from rag_assets.config import Gate
from rag_assets.evaluation.compare import compare_reports
from rag_assets.evaluation.eval_set import EvalQuery, EvalSet
from rag_assets.evaluation.evaluate import (
    AbstainFn,
    AskedAnswerer,
    PreparedEncoder,
    evaluate_version,
)
from rag_assets.evaluation.expectations import CHECK as EXPECTED
from rag_assets.evaluation.expectations import judge_expected_documents
from rag_assets.evaluation.gate import NO_SETS, judge_quality, judge_regression
from rag_assets.evaluation.known_items import ask_probes, judge_known_items, make_probes
from rag_assets.evaluation.report import EvalReport
from rag_assets.fingerprint import recipe
from rag_assets.index.base import CheckOutcome
from rag_assets.index.build import LAYOUT, read_held
from rag_assets.index.live import LiveIndex
from rag_assets.index.passages import PassageStore
from rag_assets.knowledge_base import passages_for_answer
from rag_assets.records import digest_of
from rag_assets.refresh import evidence
from rag_assets.refresh.calibrating import calibration_for, known_calibration
from rag_assets.refresh.eval_sets import eval_sets
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.retrieval.base import Hit, SearchRequest
from rag_assets.retrieval.search import search


def make_report(pipeline: Pipeline, version: int) -> list[EvalReport]:
    """One report an eval set; read from disk when this version was judged the same way before."""
    sets = eval_sets(pipeline, version)
    key = _key(pipeline, version, sets, _learnt(pipeline, version))
    known = evidence.stored_reports(pipeline.versions, version, key, sets)
    if known is not None:
        return known
    reports = _evaluated(pipeline, version, sets, _answerer(pipeline, version))
    evidence.store_reports(pipeline.versions, version, key, reports)
    return reports


def is_judged(pipeline: Pipeline, version: int) -> bool:
    """Whether a version was judged on the eval sets of today, with the settings of today."""
    sets = eval_sets(pipeline, version)
    key = _key(pipeline, version, sets, known_calibration(pipeline, version, sets))
    return evidence.is_stored(pipeline.versions, version, key)


def quality(pipeline: Pipeline, version: int) -> CheckOutcome:
    """Do the gated metrics reach their floors?"""
    return judge_quality(make_report(pipeline, version), pipeline.config.evaluation.gate)


def regression(pipeline: Pipeline, version: int) -> CheckOutcome:
    """Is the version significantly worse than the live one on the same queries?"""
    pointer = pipeline.versions.pointer()
    candidate = make_report(pipeline, version)
    if not candidate:
        return CheckOutcome("no_regression", True, f"cannot tell: {NO_SETS}", decided=False)
    if pointer is None or pointer.version == version:
        why = "there is no live version" if pointer is None else "it is the live version itself"
        return CheckOutcome("no_regression", True, f"nothing to compare with: {why}")
    live = _live_reports(pipeline, pointer.version, candidate)
    if live is None:
        return CheckOutcome(
            "no_regression",
            True,
            "cannot tell: the live version has another model or layout and was asked none of these"
            " queries; the floors decide alone. To compare, refresh once with the new queries and"
            " the model of before",
            decided=False,
        )
    return judge_regression(candidate, live, pipeline.config.evaluation.gate)


def shadow(pipeline: Pipeline, version: int) -> dict[str, Any] | None:
    """The comparison with the live version, kept with the evidence; None without one to compare.

    Of a version that was judged before, what was kept then.
    """
    pointer = pipeline.versions.pointer()
    if pointer is None or pointer.version == version:
        return None
    known = evidence.stored_comparison(pipeline.versions, version, pointer.version)
    candidate = make_report(pipeline, version)
    live = _live_reports(pipeline, pointer.version, candidate) if candidate else None
    if live is None:
        return known
    found = compare_reports(pointer.version, candidate, live)
    if found != known:
        evidence.store_comparison(pipeline.versions, version, found)
    return found


def known_items(pipeline: Pipeline, version: int) -> CheckOutcome:
    """Are the documents that changed since the version's parent found by their own words?"""
    versions = pipeline.versions
    pointer = versions.pointer()
    if pointer is not None and pointer.version == version:
        return CheckOutcome("known_items", True, "nothing to ask: it is the live version itself")
    parent = versions.manifest(version).parent
    return known_items_since(pipeline, version, parent if parent in versions.sealed() else None)


def known_items_since(pipeline: Pipeline, version: int, before: int | None) -> CheckOutcome:
    """The same of what changed since any kept version, or of everything."""
    changed = changed_since(pipeline, version, before)
    aids = open_aids(pipeline.config)
    live = LiveIndex(pipeline.storage)
    try:
        with live.read(version) as opened:
            probes = make_probes(opened, changed)
            prepared = PreparedEncoder(pipeline.encoder(), [probe.query for probe in probes])

            def search_fn(query: str, k: int) -> Sequence[Hit]:
                request = SearchRequest(
                    query, k, trust=_trust(pipeline), settings=pipeline.config.retrieval
                )
                return search(opened, prepared, request, aids)

            results = ask_probes(probes, search_fn)
    finally:
        live.close()
    return judge_known_items(results, pipeline.config.evaluation.gate.known_items)


def expected_documents(pipeline: Pipeline, version: int) -> CheckOutcome:
    """Are the documents that eval queries expect of the live version still there?"""
    pointer = pipeline.versions.pointer()
    if pointer is None or pointer.version == version:
        why = "there is no live version" if pointer is None else "it is the live version itself"
        return CheckOutcome(EXPECTED, True, f"nothing to compare with: {why}")
    return judge_expected_documents(
        eval_sets(pipeline, pointer.version),
        _content_hashes(pipeline, pointer.version),
        _content_hashes(pipeline, version),
        pipeline.config.evaluation.gate,
    )


def changed_since(pipeline: Pipeline, version: int, before: int | None) -> list[str]:
    """Documents that a version holds and an earlier one does not, or made differently."""
    states = read_held(pipeline.versions, before)[1]
    with closing(PassageStore.open(pipeline.versions.directory(version))) as passages:
        now = passages.document_states()
    return now.join(states, on=["doc_id", "state"], how="anti")["doc_id"].to_list()


def _content_hashes(pipeline: Pipeline, version: int) -> dict[str, str]:
    """Of every document that a version holds."""
    with closing(PassageStore.open(pipeline.versions.directory(version))) as passages:
        states = passages.document_states()
    return dict(states.select("doc_id", "content_hash").iter_rows())


def live_summary(pipeline: Pipeline) -> dict[str, Any]:
    """The stored figures of the live version by set."""
    pointer = pipeline.versions.pointer()
    return evidence.summary(pipeline.versions, pointer.version) if pointer else {}


# -- for people who ask --------------------------------------------------------------------------


def evaluated(pipeline: Pipeline, version: int) -> list[EvalReport]:
    """Fresh reports of any kept version; nothing is stored."""
    sets = eval_sets(pipeline, version)
    return _evaluated(pipeline, version, sets, _answerer(pipeline, version))


def searched(pipeline: Pipeline, version: int) -> list[EvalReport]:
    """Fresh reports of what is found; the answerer is not asked."""
    return _evaluated(pipeline, version, eval_sets(pipeline, version), None)


def comparison(
    pipeline: Pipeline, version: int, other: int, reports: Sequence[EvalReport]
) -> dict[str, Any]:
    """`reports`, those of `version`, against another version.

    The other one's evidence is read from disk where it was judged the same way, or is gone itself.
    """
    versions = pipeline.versions
    if other in versions.sealed():
        sets = eval_sets(pipeline, other)
        key = _key(pipeline, other, sets, _learnt(pipeline, other))
        others = evidence.stored_reports(versions, other, key, sets)
        others = others or _evaluated(pipeline, other, sets, None)
    else:
        others = evidence.reports_like(versions, other, reports) or searched(pipeline, other)
    return compare_reports(other, reports, others)


def _answerer(pipeline: Pipeline, version: int) -> AskedAnswerer | None:
    """Who is asked whether an answer is given, where the gate wants to know."""
    if not _asks_the_answerer(pipeline.config.evaluation.gate):
        return None
    abstains = _abstains(pipeline, pipeline.sentences.encode, version)
    return AskedAnswerer(abstains, passages_for_answer(pipeline.config.retrieval.k))


def _evaluated(
    pipeline: Pipeline, version: int, sets: Sequence[EvalSet], answerer: AskedAnswerer | None
) -> list[EvalReport]:
    encoder, config = pipeline.encoder(), pipeline.config
    gate = config.evaluation.gate
    trust, aids = _trust(pipeline), open_aids(pipeline.config)
    live = LiveIndex(pipeline.storage)
    try:
        with live.read(version) as opened:
            return [
                evaluate_version(
                    opened, one, encoder, config.retrieval, gate, answerer, aids, trust
                )
                for one in sets
            ]
    finally:
        live.close()


def _trust(pipeline: Pipeline) -> dict[str, float]:
    return {source.name: source.trust for source in pipeline.config.sources}


def _asks_the_answerer(gate: Gate) -> bool:
    return gate.abstention is not None or gate.answered is not None


def _live_reports(
    pipeline: Pipeline, live: int, candidate: Sequence[EvalReport]
) -> list[EvalReport] | None:
    """The live version's reports on the candidate's queries.

    With another model or layout it cannot be asked now; what it answered when it was judged counts.
    """
    manifest = pipeline.versions.manifest(live)
    if (manifest.model, manifest.layout) == (pipeline.model, LAYOUT):
        return make_report(pipeline, live)
    return evidence.reports_like(pipeline.versions, live, candidate)


def _abstains(pipeline: Pipeline, encode: Encode, version: int) -> AbstainFn:
    """Does `KnowledgeBase.answer` say nothing, once this version is live?

    Asked of the built-in answerer, which needs no network and costs nothing, with the threshold
    that is learnt for the version.
    """
    built_in = pipeline.config.llm.model_copy(update={"model": EXTRACTIVE, "fallbacks": []})
    answerer = Answerer(built_in, encode, _trust(pipeline))
    limit = pipeline.config.retrieval.k
    learnt = calibration_for(pipeline, version)
    calibration = learnt.at(pipeline.config.llm.answer_share) if learnt else UNCALIBRATED

    def abstains(query: EvalQuery, hits: Sequence[Hit]) -> bool:
        return answerer.answer(query.query, hits, version, limit, calibration).abstained

    return abstains


def _learnt(pipeline: Pipeline, version: int) -> Learnt | None:
    """The calibration that a version is judged with, where the gate asks the answerer."""
    asks = _asks_the_answerer(pipeline.config.evaluation.gate)
    return calibration_for(pipeline, version) if asks else None


def _key(pipeline: Pipeline, version: int, sets: Sequence[EvalSet], learnt: Learnt | None) -> str:
    gate = pipeline.config.evaluation.gate
    settings = pipeline.config.retrieval.model_dump_json()
    asks = _asks_the_answerer(gate)
    functions = (evaluate_version, Answerer.answer) if asks else (evaluate_version,)
    share = pipeline.config.llm.answer_share
    threshold = asdict(learnt.at(share)) if learnt and asks else None
    parameters = [settings, _trust(pipeline), sorted(gate.floors), asks, threshold]
    how = recipe(*functions, parameters=parameters)
    manifest = pipeline.versions.manifest_digest(version)
    return digest_of(how, manifest, *(s.content_hash for s in sets))
