"""The ledger: one line for every call of an embedding model or a language model.

STORAGE/costs/2026-11.jsonl    the lines of one UTC month, appended by any number of processes
"""

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

log = logging.getLogger(__name__)

Kind = Literal["embedding", "query", "answer"]

charged_to: ContextVar[str] = ContextVar("charged_to", default="local")
"""Who asks: the id of an API key in the HTTP service, `local` elsewhere."""

spent_here: ContextVar[list["Entry"] | None] = ContextVar("spent_here", default=None)
"""What was added to the ledger on behalf of one request, if somebody wants to know."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one call, or several of one day added up, took and cost.

    who: the source whose documents were embedded, or the key that asked. saved_*: what vectors and
    answers that were kept from before spared. at: ISO 8601 in UTC, or the day.
    """

    at: str
    kind: Kind
    model: str
    who: str
    calls: int = 1
    tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    saved_calls: int = 0
    saved_tokens: int = 0
    saved_usd: float = 0.0

    @property
    def day(self) -> str:
        """YYYY-MM-DD."""
        return self.at[:10]

    def plus(self, other: "Entry") -> "Entry":
        """Both together, on the day of the first."""
        return Entry(
            self.day,
            self.kind,
            self.model,
            self.who,
            self.calls + other.calls,
            self.tokens + other.tokens,
            self.completion_tokens + other.completion_tokens,
            self.usd + other.usd,
            self.saved_calls + other.saved_calls,
            self.saved_tokens + other.saved_tokens,
            self.saved_usd + other.saved_usd,
        )


Key = tuple[str, Kind, str, str]
"""(day, kind, model, who)"""


@dataclass(slots=True)
class _Month:
    """What of one file was read: its identity, how far, and the sums."""

    inode: int
    offset: int
    sums: dict[Key, Entry]


class Ledger:
    """The ledger of one storage directory. Safe for any thread."""

    def __init__(self, storage: str | Path) -> None:
        self.root = Path(storage) / "costs"
        self._months: dict[str, _Month] = {}
        self._reading = threading.Lock()

    def add(self, entry: Entry) -> None:
        """Append one entry. A ledger that cannot be written is logged; what was paid is paid."""
        here = spent_here.get()
        if here is not None:
            here.append(entry)
        line = json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            descriptor = os.open(self._path(entry.at[:7]), flags, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.error("%s: the ledger cannot be written (%s)", self.root, error)

    def months(self) -> list[str]:
        """Months with entries as YYYY-MM, oldest first."""
        found = self.root.glob("????-??.jsonl") if self.root.is_dir() else []
        return sorted(path.stem for path in found)

    def days(self, month: str | None = None) -> list[Entry]:
        """Entries added up by day, kind, model and who: of one month, or of all."""
        months = self.months() if month is None else [month]
        return [entry for name in months for entry in self._read(name).values()]

    def spent(self, month: str) -> float:
        """US dollars paid in a month."""
        return sum(entry.usd for entry in self._read(month).values())

    def roll_up(self, month: str) -> None:
        """Replace the lines of a month that is over by their sums a day."""
        path = self._path(month)
        entries = self._read(month).values()
        temporary = path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(asdict(e), ensure_ascii=False) + "\n" for e in entries)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)

    def _read(self, month: str) -> dict[Key, Entry]:
        """The sums of a month; only lines that are new since the last call are read."""
        with self._reading:
            return dict(self._sums(month))

    def _sums(self, month: str) -> dict[Key, Entry]:
        try:
            with self._path(month).open("rb") as stream:
                status = os.fstat(stream.fileno())
                seen = self._months.get(month)
                if seen is None or seen.inode != status.st_ino or seen.offset > status.st_size:
                    seen = self._months[month] = _Month(status.st_ino, 0, {})
                if seen.offset < status.st_size:
                    stream.seek(seen.offset)
                    data = stream.read()
                    whole = data.rfind(b"\n") + 1
                    seen.offset += whole
                    for entry in _entries(data[:whole]):
                        key = (entry.day, entry.kind, entry.model, entry.who)
                        held = seen.sums.get(key)
                        seen.sums[key] = entry if held is None else held.plus(entry)
                return seen.sums
        except FileNotFoundError:
            return {}

    def _path(self, month: str) -> Path:
        return self.root / f"{month}.jsonl"


_NOTHING = Entry("", "answer", "", "", calls=0)


def _entries(data: bytes) -> Iterator[Entry]:
    for line in data.splitlines():
        try:
            entry = Entry(**json.loads(line))
            date.fromisoformat(entry.day)
            entry.plus(_NOTHING)  # figures are figures
            hash((entry.kind, entry.model, entry.who))
        except (ValueError, TypeError):
            log.warning("the ledger has a line that is no entry; it is left out")
            continue
        yield entry


def now() -> str:
    """The moment, as entries have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
