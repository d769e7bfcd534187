"""Reconcile the live version with its manifest, and rebuild it from the embedding store."""

from dataclasses import asdict
from typing import Any

from rag_assets.errors import RagError, StorageError
from rag_assets.evaluation.expectations import CHECK as EXPECTED
from rag_assets.index.base import CheckOutcome, Manifest
from rag_assets.index.checks import check_integrity, differences
from rag_assets.refresh import judge
from rag_assets.refresh.candidate import check_completeness, make_candidate
from rag_assets.refresh.pipeline import Pipeline


def reconcile_live(pipeline: Pipeline, *, repair: bool) -> dict[str, Any]:
    """Compare the live version's stores with its manifest; rebuild it when asked and damaged.

    The rebuilt version is a new one, checked like any other. Where it holds the same chunks made by
    the same model, the live version's retrieval verdict carries over and no model is loaded.

    Returns: version, problems, repaired, live_version, summary.
    Raises: GateRefused when the rebuilt version does not pass its checks.
    """
    versions = pipeline.versions
    try:
        live = versions.live().version
        versions.manifest(live)
    except StorageError as error:
        return _lost(pipeline, str(error), repair=repair)
    try:
        problems = [str(difference) for difference in differences(versions, live)]
    except RagError as error:
        problems = [str(error)]
    found: dict[str, Any] = {"version": live, "problems": problems, "repaired": False}
    if not problems:
        return found | {"live_version": live, "summary": f"version {live} holds what it should"}
    if not repair:
        advice = "run `rag-assets reconcile --repair` to rebuild it from the embedding store"
        return found | {"live_version": live, "summary": f"version {live} is damaged; {advice}"}
    with pipeline.refreshing():
        number = _rebuild(pipeline, versions.manifest(live), f"version {live} is damaged")
    return found | {
        "repaired": True,
        "live_version": number,
        "summary": f"version {number} was rebuilt from the embedding store and is live",
    }


def _lost(pipeline: Pipeline, problem: str, *, repair: bool) -> dict[str, Any]:
    """What `reconcile_live` says and does where nothing tells what the live version held."""
    found: dict[str, Any] = {"version": None, "problems": [problem], "repaired": False}
    if not repair:
        advice = "run `rag-assets reconcile --repair` to build one from the embedding store"
        return found | {"live_version": None, "summary": f"no version can be served; {advice}"}
    with pipeline.refreshing():
        with pipeline.versions.publishing():
            pipeline.versions.give_up_live()
        number = _rebuild(pipeline, None, "the live version is lost")
    return found | {
        "repaired": True,
        "live_version": number,
        "summary": f"version {number} was built from the embedding store and is live",
    }


def _rebuild(pipeline: Pipeline, damaged: Manifest | None, why: str) -> int:
    versions = pipeline.versions
    run_id = f"repair-of-{damaged.version if damaged else 'what-was-lost'}"
    made = make_candidate(pipeline, run_id, rebuild=why).manifest
    outcomes = [
        check_completeness(pipeline, made.version, None),
        check_integrity(versions, made.version, pipeline.model),
        *_retrieval_outcomes(pipeline, made, damaged),
    ]
    for outcome in outcomes:
        versions.record_outcome(made.version, outcome.name, asdict(outcome))
    with versions.publishing():
        versions.promote(made.version, run_id=run_id)
        versions.collect_garbage(pipeline.config.index.keep_versions)
    return made.version


def _retrieval_outcomes(
    pipeline: Pipeline, made: Manifest, damaged: Manifest | None
) -> list[CheckOutcome]:
    names = ("retrieval_quality", "no_regression", "known_items", EXPECTED)
    verdict = pipeline.versions.verdict(damaged.version) if damaged else {}
    if damaged is not None and _same(made, damaged) and all(name in verdict for name in names):
        return [
            CheckOutcome(
                name,
                bool(verdict[name]["passed"]),
                f"same chunks and model as version {damaged.version}: {verdict[name]['summary']}",
                verdict[name]["value"],
                verdict[name]["floor"],
                bool(verdict[name]["decided"]),
            )
            for name in names
        ]
    # Compared with nothing: the damaged version cannot be asked.
    return [
        judge.quality(pipeline, made.version),
        CheckOutcome("no_regression", True, "the version before it is damaged"),
        judge.known_items_since(pipeline, made.version, None),
        CheckOutcome(EXPECTED, True, "the version before it is damaged"),
    ]


def _same(made: Manifest, damaged: Manifest) -> bool:
    return (made.model, made.chunk_ids_digest) == (damaged.model, damaged.chunk_ids_digest)
