"""The checks: blocking ones record their outcome in the verdict that promotion demands."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import dagster as dg

from rag_assets.defs.check_metadata import check_metadata
from rag_assets.defs.names import Names
from rag_assets.defs.resources import PipelineResource
from rag_assets.evaluation.advice import advice
from rag_assets.evaluation.expectations import CHECK as EXPECTED
from rag_assets.index.base import CheckOutcome
from rag_assets.index.checks import check_integrity
from rag_assets.index.versions import State
from rag_assets.operations import freshness
from rag_assets.refresh import judge
from rag_assets.refresh.candidate import check_completeness
from rag_assets.refresh.drift import FINDINGS, find_drift
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.refresh.privacy import check_leaks
from rag_assets.refresh.quarantine import CHECK as QUARANTINE_CHECK
from rag_assets.refresh.quarantine import check_quarantine

Judge = Callable[[Pipeline, int], CheckOutcome]


def build_checks(names: Names) -> list[dg.AssetChecksDefinition]:
    """The blocking checks of the candidate and its report, and the warnings beside them."""
    return [
        _check(
            names,
            "candidate_index",
            "completeness",
            "Every listed document is indexed or quarantined, with all its chunks and vectors.",
            _completeness,
        ),
        _check(
            names,
            "candidate_index",
            "index_integrity",
            "Chroma, the lexical index and the passages hold exactly the manifest's chunks, made"
            " by the configured model, all persisted.",
            lambda pipeline, version: check_integrity(pipeline.versions, version, pipeline.model),
        ),
        _check(
            names,
            "candidate_index",
            QUARANTINE_CHECK,
            "No source has more documents in quarantine than its quarantine_guard allows.",
            check_quarantine,
        ),
        _check(
            names,
            "candidate_index",
            "personal_data",
            "A sample of redacted sources holds no personal data; warns, and does not block.",
            check_leaks,
        ),
        _check(
            names,
            "retrieval_report",
            "retrieval_quality",
            "Every gated metric reaches its floor on the eval sets.",
            judge.quality,
        ),
        _check(
            names,
            "retrieval_report",
            "no_regression",
            "No gated metric is significantly worse than the live version's on the same queries.",
            judge.regression,
        ),
        _check(
            names,
            "retrieval_report",
            "known_items",
            "The documents that this refresh changed are found by sentences taken out of them.",
            judge.known_items,
        ),
        _check(
            names,
            "retrieval_report",
            EXPECTED,
            "The documents that eval queries expect of the live version are still there, or were"
            " let go by hand.",
            judge.expected_documents,
        ),
        _drift_checks(names),
        _freshness_check(names),
    ]


def _drift_checks(names: Names) -> dg.AssetChecksDefinition:
    """All findings of drift in one step; they warn and never block."""
    key = dg.AssetKey([names.prefix, "retrieval_report"])

    @dg.multi_asset_check(
        name=f"{names.identifier}_drift",
        specs=[
            dg.AssetCheckSpec(name, asset=key, description=description)
            for name, (_, description) in FINDINGS.items()
        ],
        required_resource_keys={names.pipeline},
    )
    def drift(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        rag: PipelineResource = getattr(context.resources, names.pipeline)
        version = rag.pipeline.versions.candidate()
        made = rag.receipts.parts(context.run.run_id).get("candidate", {})
        for name in FINDINGS:
            outcome = find_drift(rag.pipeline, version, name, changed=made.get("changed", True))
            yield dg.AssetCheckResult(
                check_name=name,
                asset_key=key,
                passed=outcome.passed,
                severity=dg.AssetCheckSeverity.WARN,
                description=outcome.summary,
                metadata=check_metadata(version, outcome),
            )

    return drift


def _freshness_check(names: Names) -> dg.AssetChecksDefinition:
    """How long changes of each source took to be live; it warns and never blocks."""

    @dg.asset_check(
        asset=dg.AssetKey([names.prefix, "live_index"]),
        name=freshness.CHECK,
        description="Every source's changes are live within its max_lag_minutes, and none is silent"
        " for longer than its silent_hours; warns, and does not block.",
        required_resource_keys={names.pipeline},
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        pipeline: Pipeline = getattr(context.resources, names.pipeline).pipeline
        sources, versions = pipeline.config.sources, pipeline.versions
        states = freshness.source_states(pipeline.lake, sources, versions.promotions())
        outcome = freshness.check_freshness(states, sources, time.time())
        return dg.AssetCheckResult(
            passed=outcome.passed,
            severity=dg.AssetCheckSeverity.WARN,
            description=outcome.summary,
            metadata=check_metadata(versions.live().version, outcome),
        )

    return check


def _completeness(pipeline: Pipeline, version: int) -> CheckOutcome:
    pointer = pipeline.versions.pointer()
    live = pointer is not None and pointer.version == version
    parent = version if live else pipeline.versions.manifest(version).parent
    return check_completeness(pipeline, version, parent)


def _check(
    names: Names, asset: str, name: str, description: str, evaluate: Judge
) -> dg.AssetChecksDefinition:
    key = dg.AssetKey([names.prefix, asset])

    @dg.asset_check(
        asset=key,
        name=name,
        blocking=True,
        description=description,
        required_resource_keys={names.pipeline},
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        rag: PipelineResource = getattr(context.resources, names.pipeline)
        version = rag.pipeline.versions.candidate()
        outcome = _acknowledged(
            evaluate(rag.pipeline, version), rag.receipts.parts(context.run.run_id)
        )
        record(rag, context.run.run_id, version, outcome)
        return dg.AssetCheckResult(
            passed=outcome.passed and outcome.decided,
            # An undecided outcome is shown as a warning, which does not block.
            severity=dg.AssetCheckSeverity.ERROR if outcome.decided else dg.AssetCheckSeverity.WARN,
            description=" — ".join(filter(None, (outcome.summary, advice(outcome)))),
            metadata=check_metadata(version, outcome),
        )

    return check


def _acknowledged(outcome: CheckOutcome, parts: Mapping[str, Any]) -> CheckOutcome:
    """The outcome, passed where somebody confirmed the deletions in this very run."""
    if outcome.name != EXPECTED or outcome.passed or not parts.get("confirm_deletes"):
        return outcome
    found = outcome.summary.removeprefix("refused because ").partition("; if they are meant")[0]
    return replace(outcome, passed=True, summary=f"confirmed by hand: {found}")


def record(rag: PipelineResource, run_id: str, version: int, outcome: CheckOutcome) -> None:
    """Put an outcome into the run's receipt and, unless the version is live, into its verdict.

    The verdict by which the live version was promoted is evidence and stays as it was.
    """
    verdict = rag.receipts.parts(run_id).get("verdict", {})
    rag.receipts.record(run_id, "verdict", {**verdict, outcome.name: asdict(outcome)})
    if rag.pipeline.versions.state(version) is not State.LIVE:
        rag.pipeline.versions.record_outcome(version, outcome.name, asdict(outcome))
