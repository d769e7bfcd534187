"""Documents that events brought, kept durably between scans in one SQLite file.

    PATH/kept.sqlite3      documents, tombstones, positions in streams, dead letters

Events may come twice and in any order: the greatest (version, digest) of a key wins, so that every
order of the same events ends in the same documents. A batch of events and the position up to which
they were read are one transaction; what was committed survives a power cut.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rag_assets.errors import SourceError, StorageError
from rag_assets.sources.base import Changes, Entry, Scalar

_FILE = "kept.sqlite3"
_DELETED = "~"  # greater than any hex digest: of two events with one version, the deletion wins
_PATIENCE = 60.0  # seconds to wait for another process that writes
_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    key TEXT PRIMARY KEY, version INTEGER NOT NULL, digest TEXT NOT NULL, sequence INTEGER NOT NULL,
    header TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_sequence ON documents (sequence);
CREATE TABLE IF NOT EXISTS bodies (key TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS positions (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, name TEXT NOT NULL UNIQUE, reason TEXT NOT NULL,
    body BLOB);
"""


@dataclass(frozen=True, slots=True)
class Event:
    """What became of one document: its newest bytes and attributes, or that it is gone.

    version: greater for what happened later. data: None where the source brings the bytes itself
    when they are asked for; `token` then says when they changed.
    """

    key: str
    version: int
    deleted: bool = False
    data: bytes | None = None
    token: str | None = None
    name: str | None = None
    uri: str | None = None
    title: str | None = None
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    acl: tuple[str, ...] | None = None
    modified_at: datetime | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    @property
    def header(self) -> str:
        """Everything but key, version and bytes, as JSON."""
        said = {
            "token": self.token or hashlib.sha256(self.data or b"").hexdigest()[:32],
            "size": None if self.data is None else len(self.data),
            "name": self.name or self.key.rpartition("/")[2],
            "uri": self.uri,
            "title": self.title,
            "metadata": dict(self.metadata),
            "acl": None if self.acl is None else list(self.acl),
            "modified_at": _text(self.modified_at),
            "valid_from": _text(self.valid_from),
            "valid_until": _text(self.valid_until),
        }
        told = {name: value for name, value in said.items() if value is not None}
        # Not in ASCII: a string that cannot be stored shall fail here, not in a later stage.
        return json.dumps(told, sort_keys=True, ensure_ascii=False)


class Kept:
    """The documents of one source; safe for any number of processes."""

    def __init__(self, directory: str | Path, source: str) -> None:
        self._path = Path(directory) / _FILE
        self._source = source

    def apply(
        self,
        events: Iterable[Event],
        position: tuple[str, str] | None = None,
        *,
        whole: bool = False,
    ) -> int:
        """Take in a batch of events and where the stream stands behind it, in one transaction.

        position: a name and what `position` is to answer for it. whole: the events are everything
        there is, so that what they lack is deleted. Returns how many documents changed.

        Raises: ValueError when an event cannot be stored, StorageError when nothing can; nothing of
        the batch is kept then.
        """
        with self._connected() as base, _transaction(base):
            (last,) = base.execute("SELECT coalesce(max(sequence), 0) FROM documents").fetchone()
            number, named = last, set()
            for event in events:
                number += _take_in(base, event, number + 1)
                if whole:
                    named.add(event.key)
            if whole:
                number += _delete_others(base, named, number + 1)
            if position:
                base.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", position)
            return number - last

    def position(self, name: str) -> str | None:
        """Where a stream stood at the last batch that was taken in; None before the first."""
        with self._connected() as base:
            row = base.execute("SELECT value FROM positions WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def newest(self) -> int:
        """The greatest version of any document, also of deleted ones; 0 when there is none."""
        with self._connected() as base:
            (found,) = base.execute("SELECT coalesce(max(version), 0) FROM documents").fetchone()
        return int(found)

    def forget(self, key: str) -> bool:
        """Leave nothing of a document but its key; events that came before do not bring it back."""
        with self._connected() as base:
            base.execute("PRAGMA secure_delete = ON")
            with _transaction(base):
                found = base.execute(
                    "UPDATE documents SET header = NULL, digest = ? WHERE key = ?", (_DELETED, key)
                ).rowcount
                base.execute("DELETE FROM bodies WHERE key = ?", (key,))
            base.execute("VACUUM")
            base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return bool(found)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While it lasts, no other process reads the stream, which has one position for all.

        Raises: SourceError when another one does not come to an end.
        """
        from filelock import FileLock, Timeout

        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._path.with_suffix(".lock"), timeout=_PATIENCE):
                yield
        except Timeout as error:
            raise SourceError(
                f"source {self._source!r}: another process has been reading it for"
                f" {_PATIENCE:.0f} s; nothing of the source was changed, try again later"
            ) from error

    def bury(self, name: str, reason: str, body: bytes | None) -> None:
        """Keep what can never be taken in, with the reason; burying one name twice is once."""
        row = (datetime.now(UTC).isoformat(), name, reason, body)
        with self._connected() as base, _transaction(base):
            base.execute(
                "INSERT OR IGNORE INTO dead_letters (at, name, reason, body) VALUES (?, ?, ?, ?)",
                row,
            )

    def dead_letters(self) -> list[tuple[str, str]]:
        """What could not be taken in: names and reasons, in the order in which it came."""
        with self._connected() as base:
            return base.execute("SELECT name, reason FROM dead_letters ORDER BY id").fetchall()

    def entries(self) -> Iterator[Entry]:
        """Every document that is not deleted, by key. Raises: SourceError."""
        with self._connected() as base:
            for key, header in base.execute(
                "SELECT key, header FROM documents WHERE header IS NOT NULL ORDER BY key"
            ):
                yield self._entry(key, header)

    def changes(self, cursor: str | None) -> Changes:
        """What changed since a cursor that an earlier call gave; without one, where to begin."""
        with self._connected() as base:
            if cursor is None:
                newest = base.execute("SELECT coalesce(max(sequence), 0) FROM documents").fetchone()
                return Changes([], [], str(newest[0]))
            since = int(cursor)
            rows = base.execute(
                "SELECT key, header, sequence FROM documents WHERE sequence > ? ORDER BY sequence",
                (since,),
            ).fetchall()
        return Changes(
            entries=[self._entry(key, header) for key, header, _ in rows if header is not None],
            deleted=[key for key, header, _ in rows if header is None],
            cursor=str(rows[-1][2] if rows else since),
        )

    def read(self, key: str) -> bytes | None:
        """The newest bytes of a document; None when it has none here.

        Raises: SourceError when it is deleted or was never there.
        """
        with self._connected() as base:
            row = base.execute(
                "SELECT header IS NOT NULL, data FROM documents LEFT JOIN bodies USING (key)"
                " WHERE key = ?",
                (key,),
            ).fetchone()
        if row is None or not row[0]:
            raise SourceError(f"{self._uri(key)}: was deleted meanwhile; refresh again")
        return None if row[1] is None else bytes(row[1])

    def _entry(self, key: str, header: str) -> Entry:
        said: dict[str, Any] = json.loads(header)
        acl = said.get("acl")
        return Entry(
            key=key,
            uri=said.get("uri") or self._uri(key),
            name=said["name"],
            token=said["token"],
            size=said.get("size"),
            modified_at=_time(said.get("modified_at")),
            title=said.get("title"),
            metadata=said.get("metadata", {}),
            acl=None if acl is None else tuple(acl),
            valid_from=_time(said.get("valid_from")),
            valid_until=_time(said.get("valid_until")),
        )

    def _uri(self, key: str) -> str:
        return f"kept://{self._source}/{quote(key)}"

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(
                sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None)
            ) as base:
                base.execute("PRAGMA journal_mode = WAL")
                base.execute("PRAGMA synchronous = FULL")
                if not base.execute("PRAGMA user_version").fetchone()[0]:
                    base.executescript(_SCHEMA + "PRAGMA user_version = 1;")
                yield base
        except (sqlite3.DatabaseError, OSError) as error:
            raise StorageError(
                f"source {self._source!r}: {self._path} cannot be used ({error}); check the disk"
                " and its rights"
            ) from error


@contextmanager
def _transaction(base: sqlite3.Connection) -> Iterator[None]:
    base.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        base.execute("ROLLBACK")
        raise
    base.execute("COMMIT")


def _take_in(base: sqlite3.Connection, event: Event, number: int) -> int:
    """1 when the event is newer than what is held of its document, else 0."""
    header = None if event.deleted else event.header
    digest = _DELETED
    if header is not None:
        digest = hashlib.sha256(header.encode() + b"\0" + (event.data or b"")).hexdigest()
    changed = base.execute(
        "INSERT INTO documents VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
        " version = excluded.version, digest = excluded.digest, sequence = excluded.sequence,"
        " header = excluded.header"
        " WHERE (excluded.version, excluded.digest) > (documents.version, documents.digest)",
        (event.key, event.version, digest, number, header),
    ).rowcount
    if changed < 1:
        return 0
    if event.deleted or event.data is None:
        base.execute("DELETE FROM bodies WHERE key = ?", (event.key,))
    else:
        base.execute("INSERT OR REPLACE INTO bodies VALUES (?, ?)", (event.key, event.data))
    return 1


def _delete_others(base: sqlite3.Connection, named: set[str], number: int) -> int:
    """Delete the documents that a complete list lacks; how many those were."""
    held = base.execute("SELECT key FROM documents WHERE header IS NOT NULL").fetchall()
    gone = [key for (key,) in held if key not in named]
    for place, key in enumerate(gone):
        base.execute(
            "UPDATE documents SET header = NULL, digest = ?, sequence = ? WHERE key = ?",
            (_DELETED, number + place, key),
        )
        base.execute("DELETE FROM bodies WHERE key = ?", (key,))
    return len(gone)


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
