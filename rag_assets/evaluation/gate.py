"""May a candidate version go live? Pure functions over evaluation reports.

A set too small to decide never refuses and never reassures: it says that it cannot tell.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, isnan, sqrt

from rag_assets.config import Gate
from rag_assets.evaluation.pairing import Pair, change_of, paired, questions, questions_of
from rag_assets.evaluation.rates import Rate
from rag_assets.evaluation.report import EvalReport, QueryResult
from rag_assets.evaluation.significance import PairedDifference, p_in_words
from rag_assets.index.base import CheckOutcome

REGRESSION_METRICS = ("recall@5", "mrr@10")
"""Compared with the live version whatever floors are set."""

NO_SETS = "there are no eval sets; name one under evaluation.sets"
_NO_FLOORS = "the gate sets no floors; add some under evaluation.gate, such as recall@5: 0.75"
_SIGNIFICANT = 0.05  # of all comparisons of one check together
_OF = " of "  # between a metric and the set it was compared on
_SHOWN = 10  # worst queries kept in the details
_POWER = 1.645 + 0.842  # standard errors: found 8 times in 10 at 5 %, one-sided


def judge_quality(reports: Sequence[EvalReport], gate: Gate) -> CheckOutcome:
    """Does the version reach the gate's floors on every set that is large enough to judge?

    `value` and `floor` are those of the narrowest margin. A metric that is not a number fails.
    The shares of unanswerable queries left alone and of others answered are refused only when
    chance does not explain them, however few queries are judged. A question that is asked several
    times counts once towards `min_queries`.
    """
    name = "retrieval_quality"
    asked = [_Asked(*found) for report in reports for found in _answering(report, gate)]
    if not gate.floors and not asked:
        return CheckOutcome(name, True, f"cannot tell: {_NO_FLOORS}", decided=False)
    if not reports:
        return CheckOutcome(name, True, f"cannot tell: {NO_SETS}", decided=False)
    judged = [report for report in reports if questions(report.judged) >= gate.min_queries]
    details = _quality_details(reports, gate)
    details |= {f"{item.measure} of {item.set_name}": str(item) for item in asked}
    compared = _floors_compared(judged, gate) + [item.compared for item in asked]
    failed = [item for item in compared if item.failed]
    unsure = [f"{item.set_name}: {item}" for item in asked if item.rate.unsure]
    if gate.floors and not judged:
        unsure = [_too_few_judged(reports, gate), *unsure]
    if failed:
        summary = "refused because " + "; ".join(f"{item.set_name}: {item}" for item in failed)
    elif unsure:
        summary = "cannot tell: " + "; ".join(unsure)
    else:
        summary = f"passed: {min(compared, key=_margin)}, the narrowest of {len(compared)}"
        summary += _left_out(reports, judged, gate)
    narrowest = min(failed or compared, key=_margin, default=None)
    return CheckOutcome(
        name,
        not failed,
        summary,
        narrowest.value if narrowest else None,
        narrowest.floor if narrowest else None,
        not unsure or bool(failed),
        details,
    )


def _floors_compared(reports: Sequence[EvalReport], gate: Gate) -> list["_Compared"]:
    return [
        _Compared(report.name, metric, value, floor, not value >= floor)
        for report in reports
        for metric, floor in gate.floors.items()
        for value in (report.metric(metric),)
    ]


def _too_few_judged(reports: Sequence[EvalReport], gate: Gate) -> str:
    """How many questions the largest set has, and why there are not more."""
    largest = max(reports, key=lambda report: questions(report.judged))
    few = _needs(questions(largest.judged), len(largest.judged), gate)
    if not largest.stale:
        return few
    missing = largest.stale[0].missing[0]
    return (
        f"{few}; {len(largest.stale)} more expect only documents that the version does not hold,"
        f" such as {missing}: correct the names in the eval set, or draft other queries with"
        " `rag-assets evalset propose`"
    )


def _left_out(reports: Sequence[EvalReport], judged: Sequence[EvalReport], gate: Gate) -> str:
    """Sets with too few questions to be held against the floors."""
    return "".join(
        f"; {report.name} is not judged: {_needs(questions(report.judged), 0, gate)}"
        for report in reports
        if gate.floors and report not in judged and report.judged
    )


@dataclass(frozen=True, slots=True)
class _Compared:
    """A value held against its floor."""

    set_name: str
    metric: str
    value: float
    floor: float
    failed: bool

    def __str__(self) -> str:
        return f"{self.metric} is {self.value:.3f}, floor {self.floor:.3f}"


def _margin(item: _Compared) -> float:
    return -2.0 if isnan(item.value) else item.value - item.floor


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the gate asks of the answerer on one set."""

    set_name: str
    measure: str
    rate: Rate

    @property
    def compared(self) -> _Compared:
        rate = self.rate
        return _Compared(self.set_name, self.measure, rate.value, rate.floor, rate.refused)

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
    randomisation test finds the drop significant (one-sided, 5 % over all comparisons, Holm). With
    several sets each one of at least `min_queries` questions is compared alone as well, so that a
    large set does not hide what happens to a small one.
    A drop as large that luck may explain is undecided, with the number of queries that would tell.
    `value` is the worst mean change, `floor` is `-max_regression`.
    """
    name = "no_regression"
    pairs = paired(candidate, live)
    if not live:
        return CheckOutcome(name, True, "cannot tell: there is no live version", decided=False)
    asked = len(questions_of(pairs))
    if asked < gate.min_queries:
        summary = f"cannot tell: {_needs(asked, len(pairs), gate)}"
        return CheckOutcome(name, True, summary, decided=False)
    metrics = tuple(dict.fromkeys((*REGRESSION_METRICS, *gate.floors)))
    groups = _compared_groups(pairs, gate)
    changes = {
        metric + group: change
        for group, those in groups.items()
        for metric in metrics
        if (change := change_of(metric, those)) is not None
    }
    worst = min(changes, key=lambda compared: changes[compared].mean)
    refused = [name for name in changes if isnan(changes[name].mean)] or [
        name for name in _significant_drops(changes) if changes[name].mean < -gate.max_regression
    ]
    unsure = [] if refused else [m for m, c in changes.items() if c.mean < -gate.max_regression]
    shown = refused or unsure or [worst]
    metric, _, group = shown[0].partition(_OF)
    details: dict[str, object] = {"changes": {m: _as_details(c) for m, c in changes.items()}}
    details |= _moved(groups[_OF + group if group else ""], metric)
    verdict = "refused because" if refused else "cannot tell:" if unsure else "passed:"
    needs = max((_queries_needed(changes[m]) for m in unsure), default=0)
    queries = f"{asked} queries" + (f", needs {needs}" if unsure else "")
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


def _compared_groups(pairs: Sequence[Pair], gate: Gate) -> dict[str, list[Pair]]:
    """All pairs, and those of each set that is large enough, by what follows a metric's name."""
    sets: dict[str, list[Pair]] = {}
    for pair in pairs:
        sets.setdefault(pair.set_name, []).append(pair)
    groups = {"": list(pairs)}
    if len(sets) > 1:
        groups |= {
            _OF + name: those
            for name, those in sets.items()
            if len(questions_of(those)) >= gate.min_queries
        }
    return groups


def _queries_needed(change: PairedDifference) -> int:
    """Queries with which a change as large as this one would be found 8 times in 10."""
    return max(change.queries + 1, ceil((_POWER * change.deviation / change.mean) ** 2))


def _significant_drops(changes: dict[str, PairedDifference]) -> list[str]:
    """Metrics whose drop is significant, with Holm's correction for looking at several."""
    ordered = sorted(changes, key=lambda metric: changes[metric].p_worse)
    found = []
    for place, metric in enumerate(ordered):
        if changes[metric].p_worse > _SIGNIFICANT / (len(ordered) - place):
            break
        found.append(metric)
    return found


def _moved(pairs: Sequence[Pair], metric: str) -> dict[str, object]:
    """The queries that lost most in `metric`, with what was expected and what came."""
    losses = [
        (pair.change(metric), pair)
        for pair in pairs
        if pair.counts_for(metric) and pair.change(metric) < 0
    ]
    losses.sort(key=lambda item: (item[0], item[1].new.query.id))
    return {
        "metric": metric,
        "losses": [
            _query_details(pair.new) | {"change": change, "before": list(pair.old.ranking[:3])}
            for change, pair in losses[:_SHOWN]
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
        f" {change.high:+.3f}, p {p_in_words(change.p_worse)}"
    )


def _needs(asked: int, rows: int, gate: Gate) -> str:
    """rows: of the set, where some of them may ask the same."""
    repeats = f" in {rows} rows, the others repeat them" if rows > asked else ""
    return f"{asked} judged queries{repeats}, needs {gate.min_queries}"
