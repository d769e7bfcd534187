"""A circuit breaker a source: what keeps failing is asked seldom, so that it can recover.

    STORAGE/breakers.json    sources that failed when they were last asked

Closed until three failures in a row; then open for a minute, twice as long after each further
failure, up to an hour. When the time is over one listing is let through: it closes the breaker, or
opens it again for longer.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rag_assets.config import FilesConfig, InboxConfig, RecordsConfig, SourceConfig
from rag_assets.index.versions import write_atomically

_FAILURES = 3
_FIRST, _LONGEST = 60.0, 3600.0  # seconds
_DOUBLINGS = 6  # more would not wait longer, and after a thousand there is no such float


@dataclass(frozen=True, slots=True)
class Trouble:
    """A source that failed. failures: in a row. until: seconds since the epoch; 0 when closed."""

    failures: int
    until: float
    error: str


class Breakers:
    """The breakers of one storage directory. Two writers at once may lose one failure's count."""

    def __init__(self, storage: str | Path, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(storage) / "breakers.json"
        self._clock = clock

    def troubles(self) -> dict[str, Trouble]:
        """Sources that failed when they were last asked."""
        try:
            data = json.loads(self._path.read_bytes())
            return {name: Trouble(**row) for name, row in data.items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return {}  # a damaged file costs one listing that fails again

    def why_open(self, source: str) -> str | None:
        """Why a source must not be asked now, or None."""
        trouble = self.troubles().get(source)
        if trouble is None or trouble.until <= self._clock():
            return None
        again = datetime.fromtimestamp(trouble.until, UTC).strftime("%H:%M:%S")
        return (
            f"source {source!r} failed {trouble.failures} times in a row and is left alone until"
            f" {again} UTC: {trouble.error}"
        )

    def failed(self, source: str, error: str) -> None:
        """A listing failed."""
        troubles = self.troubles()
        before = troubles.get(source)
        failures = 1 + (before.failures if before else 0)
        doublings = min(max(0, failures - _FAILURES), _DOUBLINGS)
        pause = min(_FIRST * 2**doublings, _LONGEST)
        until = self._clock() + pause if failures >= _FAILURES else 0.0
        self._write({**troubles, source: Trouble(failures, until, error)})

    def worked(self, source: str) -> None:
        """A listing was complete."""
        troubles = self.troubles()
        if troubles.pop(source, None) is not None:
            self._write(troubles)

    def _write(self, troubles: dict[str, Trouble]) -> None:
        rows = {name: asdict(trouble) for name, trouble in troubles.items()}
        write_atomically(self._path, json.dumps(rows, ensure_ascii=False).encode())


def is_local(config: SourceConfig) -> bool:
    """Whether a source lies on this machine, where asking costs nothing and needs no breaker."""
    if not isinstance(config, FilesConfig | RecordsConfig | InboxConfig):
        return False
    return "://" not in config.path
