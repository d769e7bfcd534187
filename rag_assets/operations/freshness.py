"""How far behind its sources a knowledge base is: when they changed, when that was live."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from rag_assets.config import SourceConfig
from rag_assets.index.base import CheckOutcome
from rag_assets.lake import Lake

CHECK = "source_freshness"
_COLUMNS = ["doc_id", "source", "modified_at", "held", "problem"]


@dataclass(frozen=True, slots=True)
class SourceState:
    """One source.

    changed_at: seconds since the epoch when a refresh last saw it change; None before the first.
    lag: seconds from a document's own time of change to the moment it was live, of the documents
    that the newest promotion with any brought; (median, longest), None without such.
    """

    documents: int
    quarantined: int
    held: int
    changed_at: float | None
    lag: tuple[float, float] | None


def source_states(
    lake: Lake, sources: Sequence[SourceConfig], promotions: Sequence[Mapping[str, object]]
) -> dict[str, SourceState]:
    """Every configured source by name."""
    every = [p for source in sources for p in source.partitions]
    raw = lake.read("raw_documents", every, _COLUMNS)
    parsed = lake.read("documents", every, ["doc_id", "source", "problem"])
    quarantined = parsed.filter(pl.col("problem").is_not_null())
    bad = dict(_counted(quarantined))
    held = dict(_counted(raw.filter(pl.col("held"))))
    count = dict(_counted(raw))
    # What is in quarantine was not made live by any promotion.
    lags = _lags(raw.join(quarantined, on="doc_id", how="anti"), promotions)
    return {
        source.name: SourceState(
            count.get(source.name, 0),
            bad.get(source.name, 0),
            held.get(source.name, 0),
            _changed_at(lake, source),
            lags.get(source.name),
        )
        for source in sources
    }


def check_freshness(
    states: Mapping[str, SourceState], sources: Sequence[SourceConfig], now: float
) -> CheckOutcome:
    """Does every source reach the live version within its `max_lag_minutes`, and still speak?

    now: seconds since the epoch. The value is the longest lag of any source, in seconds.
    """
    rows, problems = [], []
    for source in sources:
        state = states[source.name]
        longest = state.lag[1] if state.lag else None
        quiet = None if state.changed_at is None else now - state.changed_at
        rows.append(
            {
                "source": source.name,
                "median_lag_seconds": round(state.lag[0], 1) if state.lag else None,
                "longest_lag_seconds": None if longest is None else round(longest, 1),
                "hours_since_a_change": None if quiet is None else round(quiet / 3600, 2),
            }
        )
        allowed, silent = source.max_lag_minutes, source.silent_hours
        if allowed is not None and longest is not None and longest > allowed * 60:
            problems.append(
                f"{source.name}: a change took {longest / 60:.1f} minutes to be live,"
                f" max_lag_minutes is {allowed:g}"
            )
        if silent is not None and quiet is not None and quiet > silent * 3600:
            problems.append(
                f"{source.name}: nothing changed for {quiet / 3600:.1f} hours, silent_hours is"
                f" {silent:g}"
            )
    lags = [state.lag[1] for state in states.values() if state.lag]
    slowest = max(lags, default=None)
    told = "no change was followed yet" if slowest is None else f"slowest change {slowest:.1f} s"
    return CheckOutcome(
        CHECK, not problems, "; ".join(problems) or told, value=slowest, details={"sources": rows}
    )


def _counted(frame: pl.DataFrame) -> list[tuple[str, int]]:
    return list(frame.group_by("source").len().iter_rows())


def _changed_at(lake: Lake, source: SourceConfig) -> float | None:
    """A partition's file is replaced only when a row of it differs."""
    times = []
    for partition in source.partitions:
        try:
            times.append(lake.path("raw_documents", partition).stat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times, default=None)


def _lags(
    raw: pl.DataFrame, promotions: Sequence[Mapping[str, object]]
) -> dict[str, tuple[float, float]]:
    """Source to (median, longest) lag. The first promotion brings a backlog, which is no lag."""
    moments = [
        datetime.fromisoformat(str(entry["at"])).astimezone(UTC)
        for entry in promotions
        if entry["event"] == "promoted"
    ]
    if len(moments) < 2:
        return {}
    live = pl.DataFrame({"live_at": moments}).with_columns(
        pl.col("live_at").cast(raw.schema["modified_at"])
    )
    brought = (
        raw.filter(pl.col("modified_at").is_not_null())
        .select("source", "modified_at")
        .sort("modified_at")
        .join_asof(
            live.sort("live_at"), left_on="modified_at", right_on="live_at", strategy="forward"
        )
        .filter(pl.col("live_at") > moments[0])
        .with_columns(lag=(pl.col("live_at") - pl.col("modified_at")).dt.total_milliseconds())
    )
    newest = brought.filter(pl.col("live_at") == pl.col("live_at").max().over("source"))
    rows = newest.group_by("source").agg(
        median=pl.col("lag").median() / 1000, longest=pl.col("lag").max() / 1000
    )
    return {name: (median, longest) for name, median, longest in rows.iter_rows()}
