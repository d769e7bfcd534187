"""Rows of batches: what a source was told, as it is written to a journal and played into SQLite."""

import base64
import gzip
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

SCHEMA = """
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
DELETED = "~"  # greater than any hex digest: of two events with one version, the deletion wins


@dataclass(frozen=True, slots=True)
class Document:
    """One document as an event tells it. header: None for one that is gone."""

    key: str
    version: int
    header: str | None
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream stands behind the batch."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Whole:
    """The batch is everything there is: what it lacks is deleted."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What can never be taken in as it is, and why.

    at: when it came, in ISO form. name: a message's id, or `row KEY`. body: the message; None of a
    row, which stays at its source.
    """

    at: str
    name: str
    reason: str
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Settled:
    """A dead letter that is one no longer, by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class File:
    """A file of an inbox, by its path in there."""

    name: str
    data: bytes


Row = Document | Position | Whole | DeadLetter | Settled
_KINDS: dict[str, type] = {
    kind.__name__: kind for kind in (Document, Position, Whole, DeadLetter, Settled, File)
}


def play(base: sqlite3.Connection, rows: Iterable[Row]) -> int:
    """Take rows in; how many documents changed. Equal rows in equal order make equal tables.

    Raises: ValueError, OverflowError when a row cannot be stored.
    """
    (last,) = base.execute("SELECT coalesce(max(sequence), 0) FROM documents").fetchone()
    number, named, whole = last, set(), False
    for row in rows:
        if isinstance(row, Document):
            number += _take_in(base, row, number + 1)
            named.add(row.key)
        elif isinstance(row, Whole):
            whole = True
        elif isinstance(row, Position):
            set_position(base, row.name, row.value)
        elif isinstance(row, Settled):
            base.execute("DELETE FROM dead_letters WHERE name = ?", (row.name,))
        else:
            base.execute(
                "INSERT OR IGNORE INTO dead_letters (at, name, reason, body) VALUES (?, ?, ?, ?)",
                (row.at, row.name, row.reason, row.body),
            )
    if whole:
        number += _delete_others(base, named, number + 1)
    return number - last


def position(base: sqlite3.Connection, name: str) -> str | None:
    """Where a stream stood; None before the first batch."""
    row = base.execute("SELECT value FROM positions WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def set_position(base: sqlite3.Connection, name: str, value: str) -> None:
    """Remember where a stream stands."""
    base.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", (name, value))


def write_row(file: IO[bytes], row: Row | File) -> None:
    """Add a row to a file, as a line."""
    said = {
        name: {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name in row.__slots__
        for value in [getattr(row, name)]
    }
    file.write(json.dumps({"kind": type(row).__name__, **said}).encode() + b"\n")


def read_rows(file: IO[bytes]) -> Iterator[Any]:
    """The rows of a file."""
    for line in file:
        said = json.loads(line)
        kind: Any = _KINDS[said.pop("kind")]
        yield kind(
            **{
                name: base64.b64decode(value["base64"]) if isinstance(value, dict) else value
                for name, value in said.items()
            }
        )


def packed(file: IO[bytes]) -> IO[bytes]:
    """A file to write rows to, which compresses them into `file`."""
    return cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="wb", compresslevel=5))


def unpacked(file: IO[bytes]) -> IO[bytes]:
    """The rows of a file that `packed` wrote."""
    return cast(IO[bytes], gzip.GzipFile(fileobj=file))


def _take_in(base: sqlite3.Connection, row: Document, number: int) -> int:
    """1 when a document is newer than what is held of it, else 0."""
    digest = DELETED
    if row.header is not None:
        digest = hashlib.sha256(row.header.encode() + b"\0" + (row.data or b"")).hexdigest()
    changed = base.execute(
        "INSERT INTO documents VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
        " version = excluded.version, digest = excluded.digest, sequence = excluded.sequence,"
        " header = excluded.header"
        " WHERE (excluded.version, excluded.digest) > (documents.version, documents.digest)",
        (row.key, row.version, digest, number, row.header),
    ).rowcount
    if changed < 1:
        return 0
    if row.data is None:
        base.execute("DELETE FROM bodies WHERE key = ?", (row.key,))
    else:
        base.execute("INSERT OR REPLACE INTO bodies VALUES (?, ?)", (row.key, row.data))
    return 1


def _delete_others(base: sqlite3.Connection, named: set[str], number: int) -> int:
    """Delete the documents that a complete list lacks; how many those were."""
    held = base.execute(
        "SELECT key FROM documents WHERE header IS NOT NULL ORDER BY key"
    ).fetchall()
    gone = [key for (key,) in held if key not in named]
    for place, key in enumerate(gone):
        base.execute(
            "UPDATE documents SET header = NULL, digest = ?, sequence = ? WHERE key = ?",
            (DELETED, number + place, key),
        )
        base.execute("DELETE FROM bodies WHERE key = ?", (key,))
    return len(gone)
