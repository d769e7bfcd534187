"""`rag-assets costs`: a month by what was called and for whom, with its budget and forecast."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rag_assets.config import CostsConfig
from rag_assets.costs.budget import Budget
from rag_assets.costs.forecast import forecast
from rag_assets.costs.ledger import Entry, Ledger

_FIGURES = (
    "calls",
    "tokens",
    "completion_tokens",
    "usd",
    "saved_calls",
    "saved_tokens",
    "saved_usd",
)


def costs_of(
    config: CostsConfig, ledger: Ledger, month: str | None = None, now: datetime | None = None
) -> dict[str, Any]:
    """month, months, total, by_kind, by_model, by_source, by_key, by_day, budget, forecast.

    month: YYYY-MM; the current one when None. The forecast is of the current month only.
    """
    now = now or datetime.now(UTC)
    current = now.strftime("%Y-%m")
    month = month or current
    entries = ledger.days(month)
    embedded = [entry for entry in entries if entry.kind == "embedding"]
    asked = [entry for entry in entries if entry.kind != "embedding"]
    found = None
    if month == current:
        found = forecast(ledger.days(), now.date())
    standing = Budget(config, ledger, lambda: now).standing()
    return {
        "month": month,
        "months": ledger.months(),
        "total": _sum(entries),
        "by_kind": _by(entries, lambda entry: entry.kind),
        "by_model": _by(entries, lambda entry: entry.model),
        "by_source": _by(embedded, lambda entry: entry.who),
        "by_key": _by(asked, lambda entry: entry.who),
        "by_day": _by(entries, lambda entry: entry.day),
        "budget": {
            "usd": standing.budget,
            "spent": ledger.spent(current),
            "left": standing.left,
            "share": standing.share if standing.budget is not None else None,
            "state": standing.level,
        },
        "forecast": asdict(found) if found else None,
    }


def _by(entries: Iterable[Entry], name: Callable[[Entry], str]) -> dict[str, dict[str, float]]:
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(name(entry), []).append(entry)
    return {group: _sum(groups[group]) for group in sorted(groups)}


def _sum(entries: list[Entry]) -> dict[str, float]:
    return {name: sum(getattr(entry, name) for entry in entries) for name in _FIGURES}
