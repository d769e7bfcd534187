"""The documents stage: raw rows → text with structure, each parsed at most once per recipe.

Attributes that parsing does not look at (ACL, metadata, validity …) are laid over the parsed row
afresh on every run, so changing them for a whole source parses nothing.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import polars as pl

from rag_assets.fingerprint import recipe
from rag_assets.incremental import Reuse, fingerprints, reuse
from rag_assets.lake import Lake
from rag_assets.parsing import ParseTask, Problem, parse, parse_many
from rag_assets.parsing.base import Parsed
from rag_assets.parsing.ocr import ocr_state
from rag_assets.parsing.registry import LIBRARIES
from rag_assets.records import DOCUMENTS, TIME, checked, digest_of

_ATTRIBUTES = [
    "source",
    "partition",
    "uri",
    "content_hash",
    "title",
    "category",
    "metadata",
    "acl",
    "modified_at",
    "valid_from",
    "valid_until",
    "held",
    "attributes",
]
_EXPIRED = "expired: it was valid until "
_CHUNKED = ["parsed_digest", "title", "category"]
_STORED = ["digest", "uri", "metadata", "language", "content_hash", "problem"]


@cache
def parse_recipe() -> str:
    """What decides how bytes become text."""
    return recipe(parse, _row, parameters=ocr_state(), libraries=LIBRARIES)


def parse_documents(
    raw: pl.DataFrame,
    previous: pl.DataFrame | None,
    lake: Lake,
    progress: Callable[[int], None] | None = None,
) -> Reuse:
    """The documents of these raw rows; see `incremental.reuse`.

    A row that cannot be parsed becomes a quarantined row: `problem` set, no text.
    """
    inputs = raw.with_columns(fingerprints(raw, parse_recipe()))

    def compute(missing: pl.DataFrame) -> pl.DataFrame:
        rows = []
        for row in _parsed(missing, lake):
            rows.append(row)
            if progress:
                progress(1)
        return pl.DataFrame(rows, schema=DOCUMENTS, orient="row")

    done = reuse(previous, inputs, schema=DOCUMENTS, stage="documents", compute=compute)
    return Reuse(_with_attributes(done.frame, raw), done.kept, done.computed)


def _with_attributes(parsed: pl.DataFrame, raw: pl.DataFrame) -> pl.DataFrame:
    """Lay the source's attributes over the parsed rows, then say what each row depends on."""
    frame = parsed.drop(_ATTRIBUTES).join(raw.select("doc_id", "name", *_ATTRIBUTES), on="doc_id")
    frame = frame.with_columns(
        title=pl.coalesce("title", "parsed_title", pl.col("name").str.split("/").list.last()),
        metadata=pl.Series(
            map(_merged, frame["parsed_metadata"], frame["metadata"]), dtype=pl.String
        ),
    )
    frame = _with_validity(frame, datetime.now(UTC))
    frame = frame.with_columns(digest=_digests(frame.select(_CHUNKED)))
    times = [pl.col(name).dt.to_string("iso") for name in ("valid_from", "valid_until")]
    whole = frame.select(
        *_STORED, pl.col("acl").list.join("\x1f"), *times, pl.col("held").cast(pl.String)
    )
    frame = frame.with_columns(state=_digests(whole)).drop("name")
    return checked(frame.select(DOCUMENTS.names()).sort("doc_id"), DOCUMENTS, "documents")


def _with_validity(frame: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Validity from the metadata where the source gives none; what has expired is quarantined.

    Searches hide an expired document at once; the next run over its partition removes it.
    """
    for name in ("valid_from", "valid_until"):
        said = pl.Series([_instant(text, name) for text in frame["metadata"]], dtype=TIME)
        frame = frame.with_columns(pl.coalesce(name, said).alias(name))
    expired = pl.concat_str(pl.lit(_EXPIRED), pl.col("valid_until").dt.to_string("iso"))
    parsed = pl.when(~pl.col("problem").str.starts_with(_EXPIRED)).then("problem")
    return frame.with_columns(
        problem=pl.when(pl.col("valid_until") < now).then(expired).otherwise(parsed)
    )


def _instant(metadata: str, name: str) -> datetime | None:
    """A time that the metadata gives under `name`, ISO 8601; without a zone it is UTC."""
    value = json.loads(metadata).get(name) if f'"{name}"' in metadata else None
    try:
        found = datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found and found.tzinfo is None else found


def _digests(columns: pl.DataFrame) -> pl.Series:
    return pl.Series([digest_of(*row) for row in columns.iter_rows()], dtype=pl.String)


def _merged(found: str | None, given: str) -> str:
    """What the parser found, with the source's own metadata laid over it."""
    if not found or found == "{}":
        return given
    merged = {**json.loads(found), **json.loads(given)}
    return json.dumps(merged, sort_keys=True, ensure_ascii=False)


def _parsed(missing: pl.DataFrame, lake: Lake) -> Iterator[dict[str, object]]:
    """One output row for each input row, in the order parsing finishes."""
    tasks = []
    for doc_id, name, content_hash, problem in missing.select(
        "doc_id", "name", "content_hash", "problem"
    ).iter_rows():
        if problem:
            yield _row(doc_id, Problem("unreadable", problem, 0.0))
        elif not lake.blob_path(content_hash).exists():
            message = "its raw bytes are gone from the lake; run `rag-assets refresh --full`"
            yield _row(doc_id, Problem("unreadable", message, 0.0))
        else:
            path = Path(str(lake.blob_path(content_hash)))
            tasks.append(ParseTask(task_id=doc_id, path=path, data=None, name=name))
    for doc_id, result in parse_many(tasks):
        yield _row(doc_id, result)


def _row(doc_id: str, result: Parsed | Problem) -> dict[str, object]:
    """What parsing made of one document, without the source's attributes."""
    if isinstance(result, Problem):
        problem = f"{result.reason}: {result.message}"
        return {"doc_id": doc_id, "problem": problem, "parsed_digest": digest_of(problem)}
    headings = [{"start": h.start, "level": h.level, "title": h.title} for h in result.headings]
    pages = [{"start": p.start, "number": p.number} for p in result.pages]
    structure = json.dumps([headings, pages], sort_keys=True)
    metadata = dict(result.metadata)
    return {
        "doc_id": doc_id,
        "media_type": result.media_type,
        "text": result.text,
        "headings": headings,
        "pages": pages,
        "language": metadata.get("language"),
        "parsed_title": result.title,
        "parsed_metadata": json.dumps(metadata, sort_keys=True, ensure_ascii=False, default=str),
        "parsed_digest": digest_of(result.text, result.media_type, structure),
    }
