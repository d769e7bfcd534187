"""From a source's listing to the raw_documents frame: what is new, changed, gone or held.

Deciding (`compare`) is pure; doing (`collect`) fetches what the decision says and writes the bytes
to the lake. The previous snapshot is always read before the source is listed, and a listing that
failed or came back empty deletes nothing.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

import polars as pl

from rag_assets.config import SourceConfig
from rag_assets.errors import RagError, SourceError
from rag_assets.lake import Lake
from rag_assets.records import RAW_DOCUMENTS, bucket_of, checked, digest_of
from rag_assets.sources.base import Entry, Source

_LISTED = [
    "doc_id",
    "source",
    "partition",
    "uri",
    "name",
    "token",
    "size",
    "title",
    "category",
    "metadata",
    "acl",
    "modified_at",
    "valid_from",
    "valid_until",
    "problem",
]
_PAGE = 10_000  # entries at once in memory
LISTING = pl.Schema({name: RAW_DOCUMENTS[name] for name in _LISTED})


@dataclass(frozen=True, slots=True)
class Comparison:
    """A listing against the previous snapshot of the same source; frames of `LISTING` columns.

    unchanged: their token is the known one. to_fetch: new, or their token moved. gone: doc_ids no
    longer listed, to be deleted. held: doc_ids no longer listed, kept by the guard.
    """

    source: str
    unchanged: pl.DataFrame
    to_fetch: pl.DataFrame
    gone: list[str]
    held: list[str]
    why_held: str | None

    @property
    def listed(self) -> int:
        """Documents in the listing."""
        return self.unchanged.height + self.to_fetch.height


_UNREADABLE = "unreadable: "  # how the problem of a document begins that was listed, not fetched
LISTED_PROBLEM = pl.when(~pl.col("problem").str.starts_with(_UNREADABLE)).then("problem")
"""The problem that the listing told, null where only a fetch failed."""


def list_source(config: SourceConfig, source: Source) -> pl.DataFrame:
    """The complete listing of a source as a `LISTING` frame, in order of doc_id.

    Raises: SourceError when the listing is incomplete.
    """
    with answers_read(config):
        return listed_rows(config, source.scan())


@contextmanager
def answers_read(config: SourceConfig) -> Iterator[None]:
    """Raises: SourceError for whatever goes wrong while a source is read."""
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"source {config.name!r}: the listing failed ({error}); nothing of it was changed"
        ) from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise SourceError(
            f"source {config.name!r}: what it answers is not what was expected"
            f" ({type(error).__name__}: {error}); nothing of it was changed"
        ) from error


def listed_rows(config: SourceConfig, entries: Iterable[Entry]) -> pl.DataFrame:
    """Entries as a `LISTING` frame, in order of doc_id; without those from before `since`.

    Memory is a page of entries beside the frame. A second entry with a key is a problem, never
    another document.
    """
    wanted = (_listed_row(config, entry) for entry in entries if not _is_earlier(config, entry))
    pages = [
        pl.DataFrame(page, schema=LISTING, orient="row")
        for page in iter(lambda: list(islice(wanted, _PAGE)), [])
    ]
    frame = pl.concat([LISTING.to_frame(), *pages]).sort("doc_id", maintain_order=True)
    again = pl.int_range(pl.len()).over("doc_id")
    if frame["doc_id"].n_unique() == frame.height:
        return frame
    problem = pl.format("listed {} times under one id: only the first counts", again + 1)
    return frame.with_columns(
        doc_id=pl.when(again > 0).then(pl.format("{}#{}", "doc_id", again + 1)).otherwise("doc_id"),
        problem=pl.when(again > 0).then(problem).otherwise("problem"),
    ).sort("doc_id")


def _is_earlier(config: SourceConfig, entry: Entry) -> bool:
    if config.since is None or entry.modified_at is None:
        return False
    return in_utc(entry.modified_at).date() < config.since


def in_utc(moment: datetime) -> datetime:
    """A moment in UTC; one without a zone is."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _listed_row(config: SourceConfig, entry: Entry) -> tuple[object, ...]:
    doc_id = f"{config.name}/{entry.key}"
    metadata = {**config.metadata, **entry.metadata}
    return (
        doc_id,
        config.name,
        f"{config.name}:{bucket_of(doc_id, config.buckets)}",
        entry.uri,
        entry.name,
        entry.token,
        entry.size,
        entry.title,
        config.category,
        json.dumps(metadata, sort_keys=True, ensure_ascii=False, default=str),
        sorted(entry.acl if entry.acl is not None else config.acl),
        entry.modified_at,
        entry.valid_from,
        entry.valid_until,
        entry.problem,
    )


def compare(
    config: SourceConfig,
    listing: pl.DataFrame,
    previous: pl.DataFrame,
    *,
    confirm_deletes: bool = False,
    audit: bool = False,
) -> Comparison:
    """What a listing means, given the rows of the previous raw_documents of the whole source.

    audit: distrust every token and fetch everything.
    """
    # What could not be fetched is tried again; what the listing itself calls a problem is known.
    known = previous.filter(pl.col("content_hash").is_not_null() | LISTED_PROBLEM.is_not_null())
    same = listing.join(known, on=["doc_id", "token", "size"], how="semi", nulls_equal=True)
    unchanged = same.clear() if audit else same
    to_fetch = listing.join(unchanged.select("doc_id"), on="doc_id", how="anti")
    gone = previous.join(listing, on="doc_id", how="anti")["doc_id"].to_list()
    why = None if confirm_deletes else _why_hold(config, listing.height, len(gone), previous.height)
    return Comparison(
        config.name, unchanged, to_fetch, [] if why else gone, gone if why else [], why
    )


def _why_hold(config: SourceConfig, listed: int, gone: int, known: int) -> str | None:
    if not gone:
        return None
    if listed == 0:
        return (
            f"source {config.name!r} lists nothing, but {known} documents of it are indexed; if"
            " they are really gone run `rag-assets refresh --confirm-deletes`"
        )
    if gone > config.delete_guard * known:
        return (
            f"source {config.name!r}: {gone} of {known} documents are gone, more than delete_guard"
            f" allows ({config.delete_guard:.0%}); if that is right run"
            " `rag-assets refresh --confirm-deletes`"
        )
    return None


def collect(
    comparison: Comparison,
    previous: pl.DataFrame,
    lake: Lake,
    source: Source,
    partitions: Iterable[str],
    progress: Callable[[int], None] | None = None,
) -> pl.DataFrame:
    """The raw_documents rows of these partitions; fetches the bytes of what changed.

    Attributes come from the listing, so that a changed ACL or metadata needs no fetch. A document
    that cannot be read becomes a row with its `problem`.
    """
    wanted = set(partitions)
    mine = pl.col("partition").is_in(wanted)
    known = previous.select("doc_id", "content_hash")
    kept = comparison.unchanged.filter(mine).join(
        known, on="doc_id", how="left", maintain_order="left"
    )
    held = previous.filter(mine & pl.col("doc_id").is_in(comparison.held))
    fetched = []
    for row in comparison.to_fetch.filter(mine).iter_rows(named=True):
        fetched.append(_fetch(row, source, lake))
        if progress:
            progress(1)
    columns = [*_LISTED, "content_hash"]
    frames = [
        kept.select(columns).with_columns(held=pl.lit(False)),
        held.select(columns).with_columns(held=pl.lit(True)),
        pl.DataFrame(
            fetched, schema={**LISTING, "content_hash": pl.String}, orient="row"
        ).with_columns(held=pl.lit(False)),
    ]
    frame = pl.concat(frames).sort("doc_id")
    return checked(_with_digest(frame), RAW_DOCUMENTS, "raw_documents")


def _fetch(row: dict, source: Source, lake: Lake) -> dict:
    if row["problem"]:
        return {**row, "content_hash": None}
    try:
        data = source.fetch(_entry(row))
    except (OSError, SourceError) as error:
        return {**row, "content_hash": None, "problem": f"{_UNREADABLE}{error}"}
    except RagError:
        raise
    except Exception as error:  # noqa: BLE001 - of one document, which is quarantined with it
        said = f"{_UNREADABLE}{type(error).__name__}: {error}"
        return {**row, "content_hash": None, "problem": said}
    return {**row, "content_hash": lake.put_bytes(data)}


def _entry(row: dict) -> Entry:
    """The entry that a listing row was made of."""
    return Entry(
        key=row["doc_id"].removeprefix(row["source"] + "/"),
        uri=row["uri"],
        name=row["name"],
        token=row["token"],
        size=row["size"],
        modified_at=row["modified_at"],
        title=row["title"],
    )


def _with_digest(frame: pl.DataFrame) -> pl.DataFrame:
    """Add what parsing depends on (bytes, the name to sniff with, why there are none), and a digest
    of the attributes that only travel along."""
    return frame.with_columns(
        digest=_digests(frame.select("content_hash", "name", "problem")),
        attributes=_digests(frame.select(*ATTRIBUTES, pl.col("held").cast(pl.String))),
    )


ATTRIBUTES = [
    pl.col("uri"),
    pl.col("title"),
    pl.col("category"),
    pl.col("metadata"),
    pl.col("acl").list.join("\x1f"),
    pl.col("valid_from").dt.to_string("iso"),
    pl.col("valid_until").dt.to_string("iso"),
]


def _digests(columns: pl.DataFrame) -> pl.Series:
    return pl.Series([digest_of(*row) for row in columns.iter_rows()], dtype=pl.String)
