"""Every refresh there ever was, added up: receipts on disk, and the totals of removed ones.

STORAGE/receipts/RUN_ID.json    one refresh
STORAGE/receipts/TOTALS         what removed receipts had added up to, so that counters only grow
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rag_assets.index.versions import write_atomically
from rag_assets.operations.outcomes import Outcome, embedded, finished, outcome, seconds
from rag_assets.refresh.receipt import Receipts

TOTALS = "TOTALS"
BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, math.inf)
"""Upper bounds, in seconds, of the durations' histogram."""

_DOCUMENTS = ("added", "changed", "deleted", "unchanged", "quarantined", "held")


@dataclass(slots=True)
class Totals:
    """Sums over refreshes.

    sums: documents_*, chunks_*, embeddings_* by their receipt's names. outcomes: how many refreshes
    ended how. durations: stage → how many took at most each of BUCKETS seconds (not cumulative).
    seconds: stage → their sum.
    """

    sums: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    durations: dict[str, list[int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, parts: Mapping[str, Any]) -> None:
        """Count one receipt."""
        self.outcomes[str(outcome(parts))] += 1
        for name in _DOCUMENTS:
            self.sums[f"documents_{name}"] += parts.get("documents", {}).get(name, 0)
        for name, value in embedded(parts).items():
            self.sums[f"embeddings_{name}"] += value  # type: ignore[assignment]
        for name in ("kept", "added", "deleted"):
            self.sums[f"chunks_{name}"] += parts.get("candidate", {}).get(f"chunks_{name}", 0)
        for stage, spent in stage_seconds(parts):
            place = next(i for i, bound in enumerate(BUCKETS) if spent <= bound)
            self.durations.setdefault(stage, [0] * len(BUCKETS))[place] += 1
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "sums": dict(self.sums),
            "outcomes": dict(self.outcomes),
            "durations": self.durations,
            "seconds": self.seconds,
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Totals":
        """What `as_json` wrote."""
        return cls(
            Counter(data["sums"]),
            Counter(data["outcomes"]),
            {name: list(counts) for name, counts in data["durations"].items()},
            dict(data["seconds"]),
        )


def stage_seconds(parts: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """(stage, seconds) of one refresh; `refresh` is all of it."""
    yield from parts.get("embeddings", {}).get("stages", {}).items()
    for stage, part in (("embeddings", "embeddings"), ("candidate_index", "candidate")):
        if "seconds" in parts.get(part, {}):
            yield stage, float(parts[part]["seconds"])
    whole = seconds(parts)
    if whole is not None and outcome(parts) is not Outcome.INCOMPLETE:
        yield "refresh", whole


class History:
    """The receipts of one storage directory; a file that did not change is not read again."""

    def __init__(self, storage: str | Path) -> None:
        self._receipts = Receipts(storage)
        self._read: dict[str, tuple[int, dict[str, Any]]] = {}

    def receipts(self) -> dict[str, dict[str, Any]]:
        """Run id to the parts of its receipt, oldest first."""
        known, self._read = self._read, {}
        for run_id in self._receipts.run_ids():
            path = self._receipts.root / f"{run_id}.json"
            try:
                stamp = path.stat().st_mtime_ns
                held = known.get(run_id)
                parts = held[1] if held and held[0] == stamp else self._receipts.parts(run_id)
            except (FileNotFoundError, ValueError):
                continue  # removed since it was listed, or damaged: not evidence of anything
            if "finished" in parts:
                self._read[run_id] = (stamp, parts)
        ordered = sorted(self._read.items(), key=lambda item: item[1][1]["finished"])
        return {run_id: parts for run_id, (_, parts) in ordered}

    def totals(self) -> Totals:
        """Sums over every refresh, those whose receipt was removed included."""
        found = self._removed()
        for parts in self.receipts().values():
            found.add(parts)
        return found

    def forget(self, before: datetime) -> int:
        """Remove receipts of refreshes that ended before a moment, adding them to the totals.

        The newest is always kept. A crash between the two writes counts a receipt twice at most.
        """
        old = {
            run_id: parts
            for run_id, parts in list(self.receipts().items())[:-1]
            if finished(parts) < before
        }
        if not old:
            return 0
        totals = self._removed()
        for parts in old.values():
            totals.add(parts)
        write_atomically(self._receipts.root / TOTALS, json.dumps(totals.as_json()).encode())
        for run_id in old:
            (self._receipts.root / f"{run_id}.json").unlink(missing_ok=True)
        return len(old)

    def _removed(self) -> Totals:
        try:
            return Totals.of(json.loads((self._receipts.root / TOTALS).read_bytes()))
        except FileNotFoundError:
            return Totals()
