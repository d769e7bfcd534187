"""How far the changes of a source are in its snapshot: the next look asks only for later ones.

    lake/marks/SOURCE.json

A mark names the snapshot that it belongs to. It may be written before the snapshot is: with another
snapshot than the one it names it counts for nothing, and everything is listed.
"""

import json
import time
from dataclasses import asdict, dataclass

import polars as pl
from upath import UPath

from rag_assets.config import SourceConfig
from rag_assets.records import digest_of
from rag_assets.sources.base import Changes, ChangeSource, Source
from rag_assets.sources.collect import (
    LISTED_PROBLEM,
    LISTING,
    Comparison,
    answers_read,
    list_source,
    listed_rows,
)

_IDENTITY = ["doc_id", "token", "digest", "attributes", "held", "problem"]


@dataclass(frozen=True, slots=True)
class Mark:
    """What a snapshot has: all changes up to `cursor`, told by a source of this configuration.

    scanned_at: when everything was listed last, in seconds since 1970.
    """

    cursor: str
    config: str
    snapshot: str
    scanned_at: float


@dataclass(frozen=True, slots=True)
class Look:
    """What a source lists, and the mark to write once it is in the snapshot; None without one."""

    listing: pl.DataFrame
    mark: Mark | None = None


class Marks:
    """The marks of a storage."""

    def __init__(self, lake: UPath) -> None:
        self._root = lake / "marks"

    def read(self, source: str) -> Mark | None:
        """The mark of a source; None when there is none that can be read."""
        try:
            return Mark(**json.loads((self._root / f"{source}.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, source: str, mark: Mark, snapshot: pl.DataFrame) -> None:
        """Keep a mark for a snapshot. Losing it costs a scan, so it is not waited for."""
        said = {**asdict(mark), "snapshot": identity_of(snapshot)}
        path = self._root / f"{source}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(json.dumps(said).encode())


def look(config: SourceConfig, source: Source, previous: pl.DataFrame, mark: Mark | None) -> Look:
    """What the source lists now: its previous snapshot with its changes, or a whole scan.

    Raises: SourceError when the source cannot be asked.
    """
    with answers_read(config):
        return _look(config, source, previous, mark)


def _look(config: SourceConfig, source: Source, previous: pl.DataFrame, mark: Mark | None) -> Look:
    if not isinstance(source, ChangeSource):
        return Look(_listed(config, source, previous))
    told = digest_of(config.model_dump_json())
    now = time.time()
    if _belongs(mark, told, previous, now - config.sweep_hours * 3600) and mark is not None:
        changes = source.changes(mark.cursor)
        listing = None if changes is None else _with(config, previous, changes)
        if changes is not None and listing is not None:
            return Look(listing, Mark(changes.cursor, told, "", mark.scanned_at))
    begin = source.changes(None)
    listing = _listed(config, source, previous)
    return Look(listing, None if begin is None else Mark(begin.cursor, told, "", now))


def _listed(config: SourceConfig, source: Source, previous: pl.DataFrame) -> pl.DataFrame:
    """Everything, by a scan. What is deleted while pages are read moves later documents to a page
    that was read already: so of a paged source only what two scans lack is gone."""
    listing = list_source(config, source)
    known = previous.filter(~pl.col("held"))
    if not config.paged or known.join(listing, on="doc_id", how="anti").is_empty():
        return listing
    again = list_source(config, source)
    only_first = listing.join(again, on="doc_id", how="anti")
    return pl.concat([again, only_first]).sort("doc_id")


def nothing_differs(previous: pl.DataFrame, listing: pl.DataFrame, found: Comparison) -> bool:
    """Whether a listing says exactly what the snapshot says."""
    if found.to_fetch.height or found.gone or found.held or found.listed != previous.height:
        return False
    if listing.height == 0:
        return True
    return bool(previous.select(listing.columns).equals(listing, null_equal=True))


def partitions_that_differ(previous: pl.DataFrame, listing: pl.DataFrame) -> set[str]:
    """The partitions in which a listing says something else than the snapshot, in whatever column,
    or in which the snapshot holds back a deletion."""
    before, after = _hashed(previous.filter(~pl.col("held"))), _hashed(listing)
    return {
        *previous.filter("held")["partition"],
        *before.join(after, on="row", how="anti")["partition"],
        *after.join(before, on="row", how="anti")["partition"],
    }


def _hashed(frame: pl.DataFrame) -> pl.DataFrame:
    said = frame.select(LISTING.names()).with_columns(pl.col("acl").list.join("\x1f"))
    return frame.select("partition").with_columns(row=said.hash_rows())


def identity_of(snapshot: pl.DataFrame) -> str:
    """What tells a snapshot from another one, whatever the order of its rows."""
    rows = snapshot.select(_IDENTITY).hash_rows()
    return f"{snapshot.height}-{rows.sum() if snapshot.height else 0}-{pl.__version__}"


def _belongs(mark: Mark | None, told: str, previous: pl.DataFrame, oldest: float) -> bool:
    if mark is None or mark.config != told or mark.scanned_at < oldest:
        return False
    return mark.snapshot == identity_of(previous)


def _with(config: SourceConfig, previous: pl.DataFrame, changes: Changes) -> pl.DataFrame | None:
    """The listing that follows from a snapshot and changes; None when they do not add up."""
    named = [_doc_id(config, key) for key in changes.deleted]
    named += [_doc_id(config, entry.key) for entry in changes.entries]
    stay = previous.filter(~pl.col("held"))
    if named:
        stay = stay.filter(~pl.col("doc_id").is_in(named))
    listing = stay.with_columns(LISTED_PROBLEM).select(LISTING.names())
    if changes.entries:
        fresh = listed_rows(config, changes.entries)
        listing = pl.concat([listing, fresh]).sort("doc_id")
    if changes.total is not None and changes.total != listing.height:
        return None
    return listing


def _doc_id(config: SourceConfig, key: str) -> str:
    return f"{config.name}/{key}"
