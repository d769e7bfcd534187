"""The contract of this room: a source lists entries with change tokens and brings their bytes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol, runtime_checkable

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One document as its source lists it.

    key: unique within the source; the document's id is SOURCE/KEY.
    name: a file name to sniff the type with.
    token: changes whenever the bytes may have changed; a prefilter, the content hash is the truth.
    size: bytes, where the listing tells.
    acl: groups that may read, where the source knows better than the configuration.
    problem: why the document cannot be used; such an entry is listed but never fetched.
    """

    key: str
    uri: str
    name: str
    token: str
    size: int | None
    modified_at: datetime | None
    title: str | None = None
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    acl: tuple[str, ...] | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed in a source since a cursor.

    entries: new and changed documents, each key once. deleted: keys that are gone; one that was
    never listed does no harm. cursor: what to ask with next time. An entry may come again with
    nothing new in it. total: how many documents there are now, where the source can tell; when the
    sum does not come out, a deletion was missed and a scan follows.
    """

    entries: list[Entry]
    deleted: list[str]
    cursor: str
    total: int | None = None


class Source(Protocol):
    """Where documents come from. Made from its section of the configuration."""

    def scan(self) -> Iterator[Entry]:
        """Every document of the source, each key once.

        Raises: SourceError, at the latest when the last entry is asked for, if the listing is not
        complete. What a listing lacks counts as deleted, so half of one is worse than none.
        """

    def fetch(self, entry: Entry) -> bytes:
        """The bytes of an entry of the last scan.

        Raises: SourceError or OSError when they cannot be read.
        """


@runtime_checkable
class ChangeSource(Source, Protocol):
    """A source that can tell what changed without listing everything."""

    def changes(self, cursor: str | None) -> Changes | None:
        """What changed since `cursor`; None when only a scan can tell.

        A call with a cursor twice gives the same changes twice, or more of them: nothing is lost
        when what the first one said was not kept. Without a cursor it only says where to begin: so
        it is asked before a scan, and what changes during the scan is told once more.
        Raises: SourceError when the source cannot be asked.
        """


@runtime_checkable
class Forgetful(Protocol):
    """A source that keeps documents itself between scans, and can be made to forget one."""

    def forget(self, key: str) -> bool:
        """Remove all that is kept of a document; whether there was anything.

        What it reads of the document later is not kept again, as far as it can tell.
        """


@runtime_checkable
class Forgiving(Protocol):
    """A source that remembers by itself what it was made to forget."""

    def let_in(self, key: str) -> None:
        """Keep a document again when it is read the next time."""


def within_limit(entry: Entry, max_mib: int) -> Entry:
    """The entry, marked as a problem when it is larger than its source's limit in MiB."""
    if entry.problem or not entry.size or entry.size <= max_mib << 20:
        return entry
    found = entry.size >> 20
    return replace(
        entry, problem=f"too large: {found} MiB, the limit of this source is max_mib: {max_mib}"
    )
