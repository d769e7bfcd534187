"""May a candidate version go live? Pure functions over evaluation reports.

A set too small to decide never refuses and never reassures: it says that it cannot tell.
"""

from collections.abc import Sequence
from math import isnan

from rag_assets.config import Gate
from rag_assets.evaluation.report import EvalReport, QueryResult
from rag_assets.evaluation.significance import PairedDifference, paired_difference
from rag_assets.index.base import CheckOutcome

REGRESSION_METRICS = ("recall@5", "mrr@10")
"""Compared with the live version whatever floors are set."""

_SIGNIFICANT = 0.05  # of all comparisons of one check together
_SHOWN = 10  # worst queries kept in the details


def judge_quality(reports: Sequence[EvalReport], gate: Gate) -> CheckOutcome:
    """Does the version reach the gate's floors on every set that is large enough to judge?

    `value` and `floor` are those of the narrowest margin. A metric that is not a number fails.
    """
    name = "retrieval_quality"
    if not gate.floors:
        return CheckOutcome(name, True, "cannot tell: the gate sets no floors", decided=False)
    if not reports:
        return CheckOutcome(name, True, "cannot tell: there are no eval sets", decided=False)
    judged = [report for report in reports if len(report.judged) >= gate.min_queries]
    details = _quality_details(reports)
    if not judged:
        summary = _cannot_tell(max(len(report.judged) for report in reports), gate)
        return CheckOutcome(name, True, summary, decided=False, details=details)
    compared = [
        (report.metric(metric), floor, metric, report.name)
        for report in judged
        for metric, floor in gate.floors.items()
    ]
    failed = [item for item in compared if not item[0] >= item[1]]
    margins = [(value - floor if not isnan(value) else -2.0) for value, floor, *_ in compared]
    value, floor, metric, _ = compared[margins.index(min(margins))]
    if failed:
        reasons = (f"{set_name}: {m} is {v:.3f}, floor {f:.3f}" for v, f, m, set_name in failed)
        return CheckOutcome(
            name, False, "refused because " + "; ".join(reasons), value, floor, True, details
        )
    summary = (
        f"passed: {metric} is {value:.3f}, floor {floor:.3f}, the narrowest of {len(compared)}"
    )
    return CheckOutcome(name, True, summary, value, floor, True, details)


def judge_regression(
    candidate: Sequence[EvalReport], live: Sequence[EvalReport], gate: Gate
) -> CheckOutcome:
    """Is the candidate worse than the live version on the same queries, beyond luck?

    Refuses when the mean of a gated metric drops by more than `max_regression` and a paired
    randomisation test finds the drop significant (one-sided, 5 % over all metrics together, Holm).
    `value` is the worst mean change, `floor` is `-max_regression`.
    """
    name = "no_regression"
    pairs = _pairs(candidate, live)
    if not live:
        return CheckOutcome(name, True, "cannot tell: there is no live version", decided=False)
    if len(pairs) < gate.min_queries:
        return CheckOutcome(name, True, _cannot_tell(len(pairs), gate), decided=False)
    metrics = tuple(dict.fromkeys((*REGRESSION_METRICS, *gate.floors)))
    changes = {
        metric: paired_difference(
            [new.value(metric) for new, _ in pairs], [old.value(metric) for _, old in pairs]
        )
        for metric in metrics
    }
    worst = min(changes, key=lambda metric: changes[metric].mean)
    refused = [metric for metric in changes if isnan(changes[metric].mean)] or [
        metric
        for metric in _significant_drops(changes)
        if changes[metric].mean < -gate.max_regression
    ]
    details = {"changes": {m: _as_details(c) for m, c in changes.items()}} | _moved(pairs, worst)
    summary = "; ".join(_in_words(metric, changes[metric]) for metric in refused or [worst])
    return CheckOutcome(
        name,
        not refused,
        ("refused because " if refused else "passed: ") + f"{summary} ({len(pairs)} queries)",
        changes[refused[0] if refused else worst].mean,
        -gate.max_regression,
        True,
        details,
    )


def _pairs(
    candidate: Sequence[EvalReport], live: Sequence[EvalReport]
) -> list[tuple[QueryResult, QueryResult]]:
    """Results of the same query on both versions, where both judge it."""
    before = {(report.name, result.query.id): result for report in live for result in report.judged}
    return [
        (result, before[key])
        for report in candidate
        for result in report.judged
        if (key := (report.name, result.query.id)) in before
        and before[key].query.query == result.query.query
    ]


def _significant_drops(changes: dict[str, PairedDifference]) -> list[str]:
    """Metrics whose drop is significant, with Holm's correction for looking at several."""
    ordered = sorted(changes, key=lambda metric: changes[metric].p_worse)
    found = []
    for place, metric in enumerate(ordered):
        if changes[metric].p_worse > _SIGNIFICANT / (len(ordered) - place):
            break
        found.append(metric)
    return found


def _moved(pairs: Sequence[tuple[QueryResult, QueryResult]], metric: str) -> dict[str, object]:
    """The queries that lost most in `metric`, with what was expected and what came."""
    losses = [
        (new.value(metric) - old.value(metric), new, old)
        for new, old in pairs
        if new.value(metric) < old.value(metric)
    ]
    losses.sort(key=lambda item: (item[0], item[1].query.id))
    return {
        "metric": metric,
        "losses": [
            _query_details(new) | {"change": change, "before": list(old.ranking[:3])}
            for change, new, old in losses[:_SHOWN]
        ],
    }


def _quality_details(reports: Sequence[EvalReport]) -> dict[str, object]:
    return {
        report.name: report.as_json()
        | {"worst": [_query_details(result) for result in report.worst("mrr@10", _SHOWN)]}
        for report in reports
    }


def _query_details(result: QueryResult) -> dict[str, object]:
    return {
        "id": result.query.id,
        "query": result.query.query,
        "expected": list(result.relevant),
        "found": list(result.ranking[:3]),
        "error": result.error,
    }


def _as_details(change: PairedDifference) -> dict[str, object]:
    return {
        "mean": change.mean,
        "ci95": [change.low, change.high],
        "p": change.p_different,
        "p_worse": change.p_worse,
        "wins": change.wins,
        "losses": change.losses,
    }


def _in_words(metric: str, change: PairedDifference) -> str:
    return (
        f"{metric} changed by {change.mean:+.3f}, 95 % interval {change.low:+.3f} to"
        f" {change.high:+.3f}, p {change.p_worse:.3f}"
    )


def _cannot_tell(queries: int, gate: Gate) -> str:
    return f"cannot tell: {queries} judged queries, needs {gate.min_queries}"
