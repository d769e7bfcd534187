"""Quarantine as a table: which documents could not be processed, why, and how many are too many."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl

from rag_assets.config import SourceConfig
from rag_assets.index.base import CheckOutcome
from rag_assets.refresh.pipeline import Pipeline

CHECK = "quarantine_rate"
_NOTE = "quarantine"
_FEWEST = 5  # documents; fewer hold nothing, however small their source is
# Out on purpose: their validity has ended, or their source says `pii: block`.
_MEANT = ("expired", "blocked")
_ADVICE = {
    "empty": "put something into it, or leave it out with `exclude`",
    "no_text": "a scan: install Tesseract; otherwise leave it out with `exclude`",
    "unknown_type": "save it in a format that is read (docs/parsing.md), or `exclude` it",
    "encrypted": "save it without a password",
    "damaged": "open it where it was made and save it anew",
    "too_large": "split it",
    "too_deep": "unpack it",
    "missing_tool": "install what the message names, then `rag-assets quarantine retry`",
    "timeout": "split it or save it anew; `quarantine retry` when the machine was only busy",
    "out_of_memory": "split it or save it anew",
    "crashed": "save it anew; the file breaks its parser",
    "unreadable": "see that its source can bring it, then `rag-assets quarantine retry`",
    "blocked": "take the personal data out, or set `pii: redact` for its source",
    "expired": "give it a later `valid_until`, or delete it",
}
_COLUMNS = ["doc_id", "source", "uri", "content_hash", "media_type", "problem", "seconds", "held"]


def quarantined(pipeline: Pipeline) -> list[dict[str, Any]]:
    """One row a document that could not be processed, by doc_id.

    doc_id, source, uri, reason (see `parsing.base.REASONS`, or `expired`), message, problem (both),
    media_type, size in bytes, seconds that it took, content_hash, modified_at.
    """
    every = pipeline.partitions
    documents = pipeline.lake.read("documents", every, _COLUMNS)
    bad = documents.filter(pl.col("problem").is_not_null() & ~pl.col("held"))
    if bad.is_empty():
        return []
    raw = pipeline.lake.read("raw_documents", every, ["doc_id", "size", "modified_at"])
    rows = bad.drop("held").join(raw, on="doc_id", how="left").sort("doc_id").to_dicts()
    for row in rows:
        row["reason"], _, row["message"] = row["problem"].partition(": ")
    return rows


def advice(reason: str) -> str:
    """What a person can do about a document in quarantine."""
    return _ADVICE.get(reason, "run `rag-assets explain` on it")


def accept_quarantine(pipeline: Pipeline) -> None:
    """From now on only more documents than are in quarantine now hold a refresh."""
    counts = Counter(row["source"] for row in quarantined(pipeline) if row["reason"] not in _MEANT)
    for source in pipeline.config.sources:
        data = json.dumps({"accepted": counts[source.name]}).encode()
        pipeline.lake.write_note(_NOTE, source.name, data)


def check_quarantine(pipeline: Pipeline, version: int) -> CheckOutcome:
    """Has a source more documents in quarantine than its `quarantine_guard` allows?"""
    rows = quarantined(pipeline)
    counts = Counter(row["source"] for row in rows if row["reason"] not in _MEANT)
    raw = pipeline.lake.read("raw_documents", pipeline.partitions, ["source", "held"])
    listed = Counter(raw.filter(~pl.col("held"))["source"])
    held = {
        source.name: why
        for source in pipeline.config.sources
        if (why := _why_hold(pipeline, source, counts[source.name], listed[source.name]))
    }
    reasons = Counter(row["reason"] for row in rows)
    told = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common()) or "none"
    return CheckOutcome(
        CHECK,
        not held,
        "; ".join(held.values()) or f"{len(rows)} of {listed.total()} documents: {told}",
        value=len(rows) / max(listed.total(), 1),
        details={
            "why_held": held,
            "reasons": [{"reason": r, "documents": n} for r, n in reasons.most_common()],
            "documents": [
                {name: row[name] for name in ("doc_id", "reason", "media_type", "message")}
                for row in rows[:50]
            ],
        },
    )


def _why_hold(pipeline: Pipeline, source: SourceConfig, bad: int, listed: int) -> str | None:
    too_many = bad >= _FEWEST and bad > source.quarantine_guard * listed
    if not too_many or bad <= _accepted(pipeline, source.name):
        return None
    return (
        f"source {source.name!r}: {bad} of {listed} documents cannot be processed, more than"
        f" quarantine_guard allows ({source.quarantine_guard:.0%}); see `rag-assets quarantine`,"
        " and if that is right run `rag-assets refresh --accept-quarantine`"
    )


def _accepted(pipeline: Pipeline, source: str) -> int:
    try:
        note = pipeline.lake.note_path(_NOTE, source).read_bytes()
        return int(json.loads(note)["accepted"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0


def retry_quarantined(pipeline: Pipeline, doc_ids: Sequence[str]) -> None:
    """Drop quarantined rows, so that the next refresh reads and parses these documents again."""
    for stage in ("raw_documents", "documents"):
        for partition in pipeline.partitions:
            frame = pipeline.lake.read(stage, [partition])
            again = pl.col("doc_id").is_in(list(doc_ids)) & pl.col("problem").is_not_null()
            left = frame.filter(~again)
            if left.height < frame.height:
                pipeline.lake.write(stage, [partition], left)
