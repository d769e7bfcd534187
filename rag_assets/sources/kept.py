"""Documents that events brought, kept durably between scans in one SQLite file.

    PATH/kept.sqlite3      documents, tombstones, positions in streams, dead letters

Events may come twice and in any order: the greatest (version, digest) of a key wins, so that every
order of the same events ends in the same documents. A batch of events and the position up to which
they were read are one transaction; what was committed survives a power cut. Where storage is in an
object store, a batch is in the source's journal there before it is committed here.
"""

import hashlib
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from rag_assets.config import KeptPlace
from rag_assets.errors import SourceError, StorageError
from rag_assets.sources.base import Changes, Entry, Scalar
from rag_assets.sources.inbox import MAX_ID
from rag_assets.sources.journal import Journal, Overtaken, open_journal, retried
from rag_assets.sources.kept_rows import (
    DELETED,
    SCHEMA,
    DeadLetter,
    Document,
    Position,
    Row,
    Settled,
    Whole,
    packed,
    play,
    position,
    read_rows,
    set_position,
    unpacked,
    write_row,
)

_FILE = "kept.sqlite3"
_PATIENCE = 60.0  # seconds to wait for another process that writes
_JOURNAL = "journal"  # the position that tells how far the journal is in here
_TOLD = "journal told"  # when it last got a batch from here
_QUIET = 60.0  # seconds after which a position goes to the journal though nothing came with it


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


def usable(event: Event) -> Event | DeadLetter:
    """An event, or why its document cannot have the id that its source gives it."""
    problem = key_problem(event.key)
    if problem is None:
        return event
    why = f"id: {problem}; change it at the source"
    return DeadLetter(_now(), _row_name(event.key), why, None)


def key_problem(key: str) -> str | None:
    """What keeps a text from being a document's id."""
    if not 0 < len(key) <= MAX_ID or not key.isprintable() or key != key.strip():
        return f"expected 1 to {MAX_ID} printable characters without space at the ends"
    return None


class Kept:
    """The documents of one source; safe for any number of processes.

    journal: where batches go before they count, so that other machines can go on from them.
    """

    def __init__(self, directory: str | Path, source: str, journal: Journal | None = None) -> None:
        self._path = Path(directory) / _FILE
        self._source = source
        self._journal = journal

    @classmethod
    def at(cls, place: KeptPlace, source: str) -> "Kept":
        """What is kept of a source at the place that its configuration names."""
        return cls(place.path, source, open_journal(place, source))

    def follow(self) -> None:
        """Take in what other machines took in. Raises: Overtaken, StorageError."""
        if self._journal is None:
            return
        found = self._journal.since(int(self.position(_JOURNAL) or 0))
        if found is None:
            if self.newest():  # kept from before the storage was in this bucket
                self._put_whole(self._journal, 1)
            return
        whole, batches = found
        if whole is not None:
            with self._journal.read(whole) as file:
                self._put_back(file)
        for batch in batches:
            with (
                self._journal.read(batch) as file,
                self._connected() as base,
                _transaction(base),
            ):
                if int(position(base, _JOURNAL) or 0) == batch.number - 1:
                    play(base, read_rows(unpacked(file)))
                    set_position(base, _JOURNAL, str(batch.number))

    def apply(
        self,
        events: Iterable[Event | DeadLetter],
        position: tuple[str, str] | None = None,
        *,
        whole: bool = False,
        quietly: bool = True,
    ) -> int:
        """Take in a batch of events and where the stream stands behind it, in one transaction.

        position: a name and what `position` is to answer for it. whole: the events are everything
        there is, so that what they lack is deleted. Dead letters among them are kept as such.
        quietly: a position that comes alone may be lost with this machine.
        Returns how many documents changed.

        Raises: ValueError when an event cannot be stored, StorageError when nothing can, Overtaken
        when another machine took something in meanwhile; nothing of the batch is kept then.
        """
        return self._committed(_rows(events, position, whole), quietly=quietly)

    def position(self, name: str) -> str | None:
        """Where a stream stood at the last batch that was taken in; None before the first."""
        with self._connected() as base:
            return position(base, name)

    def _committed(self, rows: Iterator[Row], *, quietly: bool = True) -> int:
        """Take rows in; they are in the journal before they are committed here."""
        if self._journal is None:
            with self._connected() as base, _transaction(base):
                return play(base, rows)
        with (
            tempfile.TemporaryFile() as spool,
            self._connected() as base,
            _transaction(base),
        ):
            batch = _Batch(rows, packed(spool))
            changed = play(base, batch)
            batch.end()
            # A position alone, which may be lost without harm, goes to the journal seldom.
            quiet = quietly and time.time() - float(position(base, _TOLD) or 0) < _QUIET
            if not batch.rows or (batch.is_position and quiet):
                return changed
            number = int(position(base, _JOURNAL) or 0) + 1
            is_long = self._journal.append(number, spool)
            set_position(base, _JOURNAL, str(number))
            set_position(base, _TOLD, str(time.time()))
        if is_long:
            with suppress(Overtaken):
                self._put_whole(self._journal, 0)
        return changed

    def _put_whole(self, journal: Journal, more: int) -> None:
        """Let the file as it is take the place of all batches; `more` counts it as one itself."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _FILE
            with self._connected() as base:
                base.execute("VACUUM INTO ?", (str(path),))
            with closing(sqlite3.connect(path)) as copy, copy:
                before = int(position(copy, _JOURNAL) or 0)
                set_position(copy, _JOURNAL, str(before + more))
            with path.open("rb") as file:
                journal.put_whole(before + more, file)
        with self._connected() as base, _transaction(base):
            if int(position(base, _JOURNAL) or 0) == before:
                set_position(base, _JOURNAL, str(before + more))

    def _put_back(self, whole: IO[bytes]) -> None:
        """Let a whole file take the place of what is here."""
        with tempfile.NamedTemporaryFile() as copy:
            shutil.copyfileobj(whole, copy)
            copy.flush()
            with self._connected() as base, closing(sqlite3.connect(copy.name)) as other:
                other.backup(base)
                base.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def newest(self) -> int:
        """The greatest version of any document, also of deleted ones; 0 when there is none."""
        with self._connected() as base:
            (found,) = base.execute("SELECT coalesce(max(version), 0) FROM documents").fetchone()
        return int(found)

    def forget(self, key: str) -> bool:
        """Leave nothing of a document but its key, here and in the journal; events that came before
        do not bring it back. Raises: StorageError."""
        found = False

        def erase() -> None:
            nonlocal found
            self.follow()
            found = self._erased(key)
            if self._journal is not None:
                self._put_whole(self._journal, 1)

        retried(erase, self._source)
        return found

    def _erased(self, key: str) -> bool:
        with self._connected() as base:
            base.execute("PRAGMA secure_delete = ON")
            with _transaction(base):
                found = base.execute(
                    "UPDATE documents SET header = NULL, digest = ? WHERE key = ?", (DELETED, key)
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
        self._committed(iter([DeadLetter(_now(), name, reason, body)]))

    def dead_letters(self) -> list[DeadLetter]:
        """What could not be taken in, in the order in which it came."""
        with self._connected() as base:
            rows = base.execute("SELECT at, name, reason, body FROM dead_letters ORDER BY id")
            return [DeadLetter(*row) for row in rows]

    def settle(self, name: str, event: Event | None = None) -> None:
        """Let go of a dead letter, and take in what it turned out to be, in one transaction.

        Raises: ValueError when the event cannot be stored; the letter stays then.
        """

        def committed() -> None:
            self.follow()
            events = [] if event is None else [event]
            self._committed(iter([*_rows(events, None, False), Settled(name)]))

        retried(committed, self._source)

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
                    base.executescript(SCHEMA + "PRAGMA user_version = 1;")
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


def _rows(
    events: Iterable[Event | DeadLetter], position: tuple[str, str] | None, whole: bool
) -> Iterator[Row]:
    for event in events:
        if isinstance(event, DeadLetter):
            yield event
            continue
        if event.deleted and key_problem(event.key):
            yield Settled(_row_name(event.key))
            continue
        header = None if event.deleted else event.header
        data = None if event.deleted else event.data
        yield Document(event.key, event.version, header, data)
    if whole:
        yield Whole()
    if position:
        yield Position(*position)


def _row_name(key: str) -> str:
    return f"row {key!a}"


def _now() -> str:
    return datetime.now(UTC).isoformat()


class _Batch:
    """Rows that are written down while they are played. is_position: they are one and no more."""

    def __init__(self, rows: Iterator[Row], file: IO[bytes]) -> None:
        self._source = rows
        self._file = file
        self.rows = 0
        self.is_position = False

    def __iter__(self) -> Iterator[Row]:
        for row in self._source:
            yield row
            write_row(self._file, row)
            self.rows += 1
            self.is_position = self.rows == 1 and isinstance(row, Position) and row.value != ""

    def end(self) -> None:
        """Write down what is still in memory."""
        self._file.close()


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
