"""How a refresh ended, from its receipt alone."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from rag_assets.refresh.quarantine import CHECK as QUARANTINE_CHECK


class Outcome(StrEnum):
    """The end of one refresh. INCOMPLETE: it is running, or was killed and told nobody."""

    PROMOTED = "promoted"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    HELD = "held"
    SOURCE_FAILED = "source_failed"
    FAILED = "failed"
    INCOMPLETE = "incomplete"


def outcome(parts: Mapping[str, Any]) -> Outcome:
    """The gravest thing that happened: a refusal before a hold before a source that failed."""
    if "failure" in parts:
        return Outcome.FAILED
    if refusing_checks(parts):
        return Outcome.REFUSED
    if held(parts):
        return Outcome.HELD
    if "promoted" not in parts:
        return Outcome.INCOMPLETE
    if parts.get("errors"):
        return Outcome.SOURCE_FAILED
    return Outcome.PROMOTED if parts["promoted"] else Outcome.UNCHANGED


def refusing_checks(parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The checks that did not pass, with their figures and details; a guard's is no refusal."""
    verdict = parts.get("verdict", {})
    return [c for name, c in verdict.items() if not c["passed"] and name != QUARANTINE_CHECK]


def held(parts: Mapping[str, Any]) -> dict[str, str]:
    """Source to why a guard holds what would become of it: deletions, quarantine."""
    check = parts.get("verdict", {}).get(QUARANTINE_CHECK, {})
    by_check = {} if check.get("passed", True) else check.get("details", {}).get("why_held", {})
    return {**parts.get("held", {}), **by_check}


def embedded(parts: Mapping[str, Any]) -> dict[str, float]:
    """computed, tokens and usd of a refresh, with what neighbours of its documents took."""
    reports = (parts.get("embeddings", {}), parts.get("settled", {}).get("report", {}))
    return {
        name: sum(report.get(name, 0) for report in reports)
        for name in ("computed", "tokens", "usd")
    }


def seconds(parts: Mapping[str, Any]) -> float | None:
    """How long a finished refresh took."""
    if "seconds" in parts:
        return float(parts["seconds"])
    if "started" not in parts or "finished" not in parts:
        return None
    return (finished(parts) - datetime.fromisoformat(parts["started"])).total_seconds()


def finished(parts: Mapping[str, Any]) -> datetime:
    """When the receipt was last written."""
    return datetime.fromisoformat(parts["finished"])
