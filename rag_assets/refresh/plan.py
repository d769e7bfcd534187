"""What a refresh would have to do: comparisons of fingerprints; no bytes read, no model loaded.

A partition is due when its source's listing moved, or when any stage of it is behind the stage
before: after a crash, a changed recipe or a refused candidate the next refresh finds and redoes
exactly that.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from rag_assets.chunking.chunks import chunk_fingerprint
from rag_assets.cleaning.documents import MADE_OF, made_of, measuring_key
from rag_assets.cleaning.measured import read_measured
from rag_assets.index.build import read_held
from rag_assets.records import digest_of
from rag_assets.refresh.duplicates import grouped_state, text_groups
from rag_assets.refresh.pipeline import Listing, Options, Pipeline
from rag_assets.sources.collect import ATTRIBUTES


@dataclass(frozen=True, slots=True)
class RefreshPlan:
    """What is due, and why.

    partitions: those that need work, in the order of the configuration. reasons: how many documents
    are due, by why. held: source → why its deletions wait. errors: source → why it was not listed.
    key: names the state that was seen; two plans with one key would do the same. listings: what was
    seen, for a refresh that follows at once (see `Pipeline.expect`).
    """

    partitions: list[str]
    reasons: dict[str, int]
    held: dict[str, str]
    errors: dict[str, str]
    listed: int
    key: str
    listings: tuple[Listing, ...] = field(default=(), repr=False, compare=False)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.partitions


def plan_refresh(pipeline: Pipeline, options: Options | None = None) -> RefreshPlan:
    """List the sources and compare every stage with the one before it."""
    options = options or Options()
    listings = pipeline.list_sources(options)
    due: dict[str, pl.DataFrame] = {}
    for item in listings:
        due.update(_due_at_source(item))
    due.update(_behind(pipeline))
    rows = pl.concat([_labelled(reason, frame) for reason, frame in due.items()]) if due else None
    every = pipeline.partitions
    waiting = set() if rows is None else set(rows["partition"])
    reasons = {} if rows is None else dict(rows.group_by("reason").len().iter_rows())
    state = sorted(rows["state"].to_list()) if rows is not None else []
    return RefreshPlan(
        partitions=[p for p in every if p in waiting],
        reasons={reason: reasons[reason] for reason in sorted(reasons)},
        held={
            item.config.name: item.comparison.why_held
            for item in listings
            if item.comparison is not None and item.comparison.why_held
        },
        errors={item.config.name: item.error for item in listings if item.error},
        listed=sum(item.listing.height for item in listings),
        key=digest_of(*state)[:16] if state else "nothing",
        listings=tuple(listings),
    )


def _labelled(reason: str, frame: pl.DataFrame) -> pl.DataFrame:
    state = pl.concat_str(pl.lit(reason), pl.col("doc_id"), pl.col("state").fill_null(""))
    return frame.select("partition", reason=pl.lit(reason), state=state)


def _due_at_source(item: Listing) -> dict[str, pl.DataFrame]:
    """Documents whose listing differs from the snapshot, by reason."""
    if item.comparison is None:
        return {}
    known = item.previous.select("doc_id")
    state = pl.col("token").alias("state")
    fetched = item.comparison.to_fetch.select("doc_id", "partition", state)
    name = item.config.name
    before = item.previous.select("doc_id", *_named(ATTRIBUTES), "held")
    after = item.comparison.unchanged.select("doc_id", "partition", *_named(ATTRIBUTES))
    both = after.join(before, on="doc_id", suffix="_before")
    moved = pl.any_horizontal(
        *(pl.col(c).ne_missing(pl.col(f"{c}_before")) for c in _ATTRIBUTE_NAMES), pl.col("held")
    )
    gone = item.previous.filter(pl.col("doc_id").is_in(item.comparison.gone))
    newly_held = item.previous.filter(
        pl.col("doc_id").is_in(item.comparison.held) & ~pl.col("held")
    )
    return {
        f"new in {name}": fetched.join(known, on="doc_id", how="anti"),
        f"changed in {name}": fetched.join(known, on="doc_id", how="semi"),
        f"other attributes in {name}": both.filter(moved).select(
            "doc_id", "partition", state=pl.concat_str(*_ATTRIBUTE_NAMES, ignore_nulls=True)
        ),
        f"gone from {name}": gone.select("doc_id", "partition", state=pl.lit("gone")),
        f"held in {name}": newly_held.select("doc_id", "partition", state=pl.lit("held")),
    }


_ATTRIBUTE_NAMES = ["uri", "title", "category", "metadata", "acl", "valid_from", "valid_until"]


def _named(expressions: Iterable[pl.Expr]) -> list[pl.Expr]:
    return [e.alias(name) for e, name in zip(expressions, _ATTRIBUTE_NAMES, strict=True)]


def _behind(pipeline: Pipeline) -> dict[str, pl.DataFrame]:
    """Documents at which a stage is behind the stage before it, by reason."""
    lake, every = pipeline.lake, pipeline.partitions
    raw = lake.read(
        "raw_documents", every, ["doc_id", "source", "partition", "digest", "attributes"]
    )
    documents = lake.read(
        "documents",
        every,
        [
            "doc_id",
            "partition",
            "category",
            "fingerprint",
            "attributes",
            "digest",
            "problem",
            "state",
        ],
    )
    chunks = lake.read("chunks", every, ["chunk_id", "doc_id", "partition", "fingerprint"])
    embedded = lake.read("embeddings", every, ["chunk_id", "doc_id", "partition", "model"])
    made = made_of(raw, pipeline.config.sources).alias("made")
    healthy = documents.filter(pl.col("problem").is_null())
    cut = healthy.with_columns(
        chunk_fingerprint(
            healthy, pipeline.config.chunking, pipeline.tokenizer, pipeline.max_tokens
        )
    )
    right = embedded.filter(pl.col("model") == pipeline.model)
    wanted = (
        cut.with_columns(state=pl.concat_str("state", "fingerprint", separator="|"))
        .join(text_groups(pipeline), on="doc_id", how="left")
        .with_columns(state=grouped_state())
    )
    parts = ["doc_id", "partition"]
    return {
        "to parse": _difference(
            raw.with_columns(made),
            documents.with_columns(made=MADE_OF),
            [*parts, "made", "attributes"],
        ),
        "to clean": _to_clean(pipeline, raw),
        "to chunk": _difference(cut, chunks, [*parts, "fingerprint"]),
        "to embed": _difference(chunks, right, [*parts, "chunk_id"]),
        "to index": _not_live(pipeline, wanted),
    }


def _to_clean(pipeline: Pipeline, raw: pl.DataFrame) -> pl.DataFrame:
    """Documents of partitions whose repeated lines are not what their source repeats now."""
    behind: dict[str, str] = {}
    for source in pipeline.config.sources:
        record, key = read_measured(pipeline.lake, source.name), measuring_key(source)
        due = record.behind if record.key == key else source.partitions
        behind |= dict.fromkeys(due, key)
    found = raw.filter(pl.col("partition").is_in(list(behind)))
    return found.select(
        "doc_id",
        "partition",
        state=pl.col("partition").replace_strict(behind, default=None, return_dtype=pl.String),
    )


def _difference(want: pl.DataFrame, have: pl.DataFrame, on: list[str]) -> pl.DataFrame:
    """Documents of which one side has rows that the other lacks."""
    lacking = want.join(have, on=on, how="anti", nulls_equal=True)
    surplus = have.join(want, on=on, how="anti", nulls_equal=True)
    rows = pl.concat(
        [frame.select("doc_id", "partition", state=on[-1]) for frame in (lacking, surplus)]
    )
    return rows.unique("doc_id", maintain_order=True)


def _not_live(pipeline: Pipeline, wanted: pl.DataFrame) -> pl.DataFrame:
    """Documents that the live version does not hold as they are wanted, or holds too many."""
    pointer = pipeline.versions.pointer()
    columns = ["doc_id", "partition", "state"]
    if pointer is None:
        return wanted.select(columns)
    if pipeline.versions.manifest(pointer.version).model != pipeline.model:
        return wanted.select("doc_id", "partition", state=pl.lit(pipeline.model))
    _, held = read_held(pipeline.versions, pointer.version)
    lacking = wanted.join(held, on=["doc_id", "state"], how="anti").select(columns)
    surplus = held.join(wanted, on="doc_id", how="anti").select(
        "doc_id", partition=pl.lit(pipeline.partitions[0]), state="state"
    )
    return pl.concat([lacking, surplus])
