"""May a candidate version go live? Pure functions over evaluation reports.

A set too small to decide never refuses and never reassures: it says that it cannot tell.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, isnan, sqrt

from rag_assets.config import Gate
from rag_assets.evaluation.rates import Rate
from rag_assets.evaluation.report import EvalReport, QueryResult
from rag_assets.evaluation.significance import PairedDifference, paired_difference
from rag_assets.index.base import CheckOutcome

REGRESSION_METRICS = ("recall@5", "mrr@10")
"""Compared with the live version whatever floors are set."""

_SIGNIFICANT = 0.05  # of all comparisons of one check together
_SHOWN = 10  # worst queries kept in the details
_POWER = 1.645 + 0.842  # standard errors: found 8 times in 10 at 5 %, one-sided


def judge_quality(reports: Sequence[EvalReport], gate: Gate) -> CheckOutcome:
    """Does the version reach the gate's floors on every set that is large enough to judge?

    `value` and `floor` are those of the narrowest margin. A metric that is not a number fails.
    The shares of unanswerable queries left alone and of others answered are refused only when
    chance does not explain them.
    """
    name = "retrieval_quality"
    asked = [_Asked(*found) for report in reports for found in _answering(report, gate)]
    if not gate.floors and not asked:
        return CheckOutcome(name, True, "cannot tell: the gate sets no floors", decided=False)
    if not reports:
        return CheckOutcome(name, True, "cannot tell: there are no eval sets", decided=False)
    judged = [report for report in reports if len(report.judged) >= gate.min_queries]
    details = _quality_details(reports, gate)
    if not judged:
        summary = _cannot_tell(max(len(report.judged) for report in reports), gate)
        return CheckOutcome(name, True, summary, decided=False, details=details)
    compared = [
        _Compared(report.name, metric, value, floor, not value >= floor)
        for report in judged
        for metric, floor in gate.floors.items()
        for value in (report.metric(metric),)
    ]
    compared += [
        _Compared(item.set_name, item.measure, item.rate.value, item.rate.floor, item.rate.refused)
        for item in asked
    ]
    details |= {f"{item.measure} of {item.set_name}": str(item) for item in asked}
    failed = [item for item in compared if item.failed]
    unsure = [item for item in asked if item.rate.unsure]
    narrowest = min(failed or compared, key=lambda item: item.margin)
    if failed:
        summary = "refused because " + "; ".join(f"{item.set_name}: {item}" for item in failed)
    elif unsure:
        summary = "cannot tell: " + "; ".join(f"{item.set_name}: {item}" for item in unsure)
    else:
        summary = f"passed: {narrowest}, the narrowest of {len(compared)}"
    return CheckOutcome(
        name,
        not failed,
        summary,
        narrowest.value,
        narrowest.floor,
        not unsure or bool(failed),
        details,
    )


@dataclass(frozen=True, slots=True)
class _Compared:
    """A value held against its floor."""

    set_name: str
    metric: str
    value: float
    floor: float
    failed: bool

    @property
    def margin(self) -> float:
        return -2.0 if isnan(self.value) else self.value - self.floor

    def __str__(self) -> str:
        return f"{self.metric} is {self.value:.3f}, floor {self.floor:.3f}"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the gate asks of the answerer on one set."""

    set_name: str
    measure: str
    rate: Rate

    def __str__(self) -> str:
        rate = self.rate
        needs = f", needs {rate.needed}" if rate.unsure else ""
        return (
            f"{self.measure} is {rate.value:.3f}, floor {rate.floor:.3f}"
            f" ({rate.trials} queries{needs})"
        )


def _answering(report: EvalReport, gate: Gate) -> Iterator[tuple[str, str, Rate]]:
    """Set, measure and rate of what the gate asks of the answerer, where anything was asked."""
    asked = {
        "abstention": (gate.abstention, report.abstentions),
        "answered": (gate.answered, report.answers),
    }
    for measure, (floor, outcomes) in asked.items():
        if floor is not None and outcomes:
            yield report.name, measure, Rate(sum(outcomes), len(outcomes), floor)


def judge_regression(
    candidate: Sequence[EvalReport], live: Sequence[EvalReport], gate: Gate
) -> CheckOutcome:
    """Is the candidate worse than the live version on the same queries, beyond luck?

    Refuses when the mean of a gated metric drops by more than `max_regression` and a paired
    randomisation test finds the drop significant (one-sided, 5 % over all metrics together, Holm).
    A drop as large that luck may explain is undecided, with the number of queries that would tell.
    `value` is the worst mean change, `floor` is `-max_regression`.
    """
    name = "no_regression"
    pairs = _pairs(candidate, live)
    if not live:
        return CheckOutcome(name, True, "cannot tell: there is no live version", decided=False)
    if len(pairs) < gate.min_queries:
        return CheckOutcome(name, True, _cannot_tell(len(pairs), gate), decided=False)
    changes = _changes(pairs, tuple(dict.fromkeys((*REGRESSION_METRICS, *gate.floors))))
    worst = min(changes, key=lambda metric: changes[metric].mean)
    refused = [metric for metric in changes if isnan(changes[metric].mean)] or [
        metric
        for metric in _significant_drops(changes)
        if changes[metric].mean < -gate.max_regression
    ]
    unsure = [] if refused else [m for m, c in changes.items() if c.mean < -gate.max_regression]
    details = {"changes": {m: _as_details(c) for m, c in changes.items()}} | _moved(pairs, worst)
    shown = refused or unsure or [worst]
    verdict = "refused because" if refused else "cannot tell:" if unsure else "passed:"
    needs = max((_queries_needed(changes[m]) for m in unsure), default=0)
    queries = f"{len(pairs)} queries" + (f", needs {needs}" if unsure else "")
    summary = "; ".join(_in_words(metric, changes[metric]) for metric in shown)
    return CheckOutcome(
        name,
        not refused,
        f"{verdict} {summary} ({queries})",
        changes[shown[0]].mean,
        -gate.max_regression,
        not unsure,
        details,
    )


def _changes(
    pairs: Sequence[tuple[QueryResult, QueryResult]], metrics: Sequence[str]
) -> dict[str, PairedDifference]:
    """The change of each metric over the pairs that it counts for on both sides."""
    found = {}
    for metric in metrics:
        values = [
            (new.value(metric), old.value(metric))
            for new, old in pairs
            if new.counts_for(metric) and old.counts_for(metric)
        ]
        if values:
            found[metric] = paired_difference(*zip(*values, strict=True))
    return found


def _queries_needed(change: PairedDifference) -> int:
    """Queries with which a change as large as this one would be found 8 times in 10."""
    return max(change.queries + 1, ceil((_POWER * change.deviation / change.mean) ** 2))


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


def _quality_details(reports: Sequence[EvalReport], gate: Gate) -> dict[str, object]:
    return {
        report.name: report.as_json()
        | {"floors": gate.floors}
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
        "queries": change.queries,
        # The smallest drop that this many queries would show 8 times in 10.
        "detectable_drop": _POWER * change.deviation / sqrt(change.queries),
    }


def _in_words(metric: str, change: PairedDifference) -> str:
    return (
        f"{metric} changed by {change.mean:+.3f}, 95 % interval {change.low:+.3f} to"
        f" {change.high:+.3f}, p {change.p_worse:.3f}"
    )


def _cannot_tell(queries: int, gate: Gate) -> str:
    return f"cannot tell: {queries} judged queries, needs {gate.min_queries}"
