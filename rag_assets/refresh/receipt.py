"""The receipt of a refresh: what was listed, kept, paid for, judged and promoted.

Each stage writes its part as soon as it is done, to STORAGE/receipts/RUN_ID.json, so that a run
that dies leaves an honest account, readable from any process.
"""

import json
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rag_assets.index.versions import write_atomically

_DOCUMENTS = ("listed", "unchanged", "added", "changed", "deleted", "quarantined", "held")


class Receipts:
    """The parts of every run's receipt under one storage directory."""

    def __init__(self, storage: str | Path) -> None:
        self.root = Path(storage) / "receipts"

    def record(self, run_id: str, part: str, facts: object) -> None:
        """Add one part; facts: a dataclass or anything JSON can hold."""
        data = asdict(facts) if is_dataclass(facts) and not isinstance(facts, type) else facts
        parts = self.parts(run_id)
        parts.setdefault("started", _now())
        parts[part] = data
        parts["finished"] = _now()
        text = json.dumps(parts, indent=1, ensure_ascii=False, default=str)
        write_atomically(self._path(run_id), text.encode(), durable=False)

    def parts(self, run_id: str) -> dict[str, Any]:
        """What was recorded of a run so far."""
        try:
            return dict(json.loads(self._path(run_id).read_bytes()))
        except (FileNotFoundError, json.JSONDecodeError):  # a power failure may leave it empty
            return {}

    def run_ids(self) -> list[str]:
        """Runs with a receipt, oldest first."""
        files = self.root.glob("*.json") if self.root.is_dir() else []
        return [f.stem for f in sorted(files, key=lambda f: f.stat().st_mtime)]

    def _path(self, run_id: str) -> Path:
        return self.root / f"{run_id}.json"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def compose(run_id: str, parts: dict[str, Any], live_version: int | None) -> dict[str, Any]:
    """The receipt in the shape that `refresh --json` prints, from the parts of a run."""
    candidate = parts.get("candidate", {})
    documents = parts.get("documents", {})
    verdict = parts.get("verdict", {})
    embeddings = _sum(parts.get("embeddings", {}), parts.get("settled", {}).get("report", {}))
    checks = list(verdict.values())
    return {
        "run_id": run_id,
        "version": candidate.get("version", live_version),
        "promoted": bool(parts.get("promoted", False)),
        "live_version": live_version,
        "seconds": parts.get("seconds", _seconds(parts)),
        "documents": {name: documents.get(name, 0) for name in _DOCUMENTS},
        "chunks": {
            name: candidate.get(f"chunks_{name}", 0) for name in ("kept", "added", "deleted")
        },
        "embeddings": {
            # Over the whole version, though a run only looks at the partitions that are due.
            "reused": max(0, candidate.get("chunks", 0) - embeddings.get("computed", 0)),
            "computed": embeddings.get("computed", 0),
            "tokens": embeddings.get("tokens", 0),
            "usd": embeddings.get("usd", 0.0),
        },
        "gate": {
            "passed": bool(checks) and all(check["passed"] for check in checks),
            "checks": [_check(check) for check in checks],
        },
        "quarantined": parts.get("quarantined", []),
        "held": parts.get("held", {}) | _held_by_checks(verdict),
        "errors": parts.get("errors", {}),
        "waits": parts.get("waits"),
    }


def _held_by_checks(verdict: dict[str, Any]) -> dict[str, str]:
    details = verdict.get("quarantine_rate", {}).get("details", {})
    return dict(details.get("why_held", {}))


def _sum(*reports: dict[str, Any]) -> dict[str, Any]:
    names = ("computed", "tokens", "usd")
    return {name: sum(report.get(name, 0) for report in reports) for name in names}


def _check(check: dict[str, Any]) -> dict[str, Any]:
    names = ("name", "passed", "decided", "value", "floor", "summary")
    return {name: check.get(name) for name in names}


def _seconds(parts: dict[str, Any]) -> float:
    if "started" not in parts:
        return 0.0
    spent = datetime.fromisoformat(parts["finished"]) - datetime.fromisoformat(parts["started"])
    return round(spent.total_seconds(), 3)
