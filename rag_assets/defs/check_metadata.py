"""What the Dagster UI shows of a check: its figures as tables, and a plot of the deciding ones."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from rag_assets.defs.metadata import bars, forest, table
from rag_assets.index.base import CheckOutcome

_ROWS = 20


def check_metadata(version: int, outcome: CheckOutcome) -> dict[str, object]:
    """The metadata of one check's evaluation.

    Scalars stay scalars, so that Dagster plots them over time; lists of rows and groups of figures
    become tables, changes and gated metrics a plot as well.
    """
    facts: dict[str, object] = {"version": version, "decided": outcome.decided}
    if outcome.value is not None:
        facts["value"] = round(float(outcome.value), 4)
    if outcome.floor is not None:
        facts["floor"] = float(outcome.floor)
    for name, detail in outcome.details.items():
        facts |= _rendered(name, detail)
    return facts


def _rendered(name: str, detail: object) -> dict[str, object]:
    if isinstance(detail, int | float | str | bool):
        return {name: detail}
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        header = [h for h in detail[0] if any(row.get(h) not in (None, "") for row in detail)]
        return {
            name: table(header, [[_flat(row.get(h)) for h in header] for row in detail[:_ROWS]])
        }
    if isinstance(detail, Mapping) and "metrics" in detail:
        return _report(name, detail)
    if isinstance(detail, Mapping) and detail and isinstance(next(iter(detail.values())), Mapping):
        return {name: _group(detail)} | _plotted(name, detail)
    return {}


def _report(name: str, report: Mapping[str, Any]) -> dict[str, object]:
    """One eval set: its metrics with intervals, how its queries were counted, the worst of them."""
    rows = [
        (metric, value, *report["ci95"].get(metric, (None, None)))
        for metric, value in report["metrics"].items()
    ]
    facts: dict[str, object] = {name: table(["metric", "value", "95 % low", "95 % high"], rows)}
    counts = ("queries", "judged", "stale", "errors", "unanswerable", "lost_passages")
    facts[f"{name} queries"] = table(counts, [[report[count] for count in counts]])
    facts |= _rendered(f"{name} worst queries", report["worst"])
    values = {metric: value for metric, value in report["metrics"].items() if value is not None}
    if values:
        facts[f"{name} plot"] = bars(values, report.get("floors", {}), report["ci95"])
    return facts


def _group(figures: Mapping[str, Mapping[str, Any]]) -> dg.MetadataValue:
    header = list(next(iter(figures.values())))
    rows = [[name, *(_flat(row.get(h)) for h in header)] for name, row in figures.items()]
    return table(["", *header], rows)


def _plotted(name: str, figures: Mapping[str, Mapping[str, Any]]) -> dict[str, object]:
    changes = {
        metric: (row["mean"], *row["ci95"])
        for metric, row in figures.items()
        if {"mean", "ci95"} <= row.keys()
    }
    return {f"{name} plot": forest(changes)} if changes else {}


def _flat(value: object) -> object:
    """Lists of texts or numbers in one cell."""
    if isinstance(value, list):
        return ", ".join(f"{v:+.3f}" if isinstance(v, float) else str(v) for v in value)
    return value
