"""The row of each stage: Polars schemas for frames that flow between stages.

Frames carry their own lineage: `fingerprint` names what made the row (the stage's recipe and its
input's `digest`), `digest` names what the row says. A stage recomputes a row only when the
fingerprint it would get differs from the one it has (see `incremental.py`).
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from rag_assets.errors import RagError

HEADING = pl.Struct({"start": pl.Int64, "level": pl.Int64, "title": pl.String})
PAGE = pl.Struct({"start": pl.Int64, "number": pl.Int64})
TIME = pl.Datetime("us", "UTC")


def _schema(columns: Mapping[str, Any]) -> pl.Schema:
    """Columns mix Polars' type classes and instances, which no narrower type describes."""
    return pl.Schema(columns)


RAW_DOCUMENTS = _schema(
    {
        "doc_id": pl.String,  # SOURCE/KEY
        "source": pl.String,
        "partition": pl.String,  # SOURCE:BUCKET, the Dagster partition
        "uri": pl.String,
        "name": pl.String,  # file name or record id with a suffix; parsing sniffs with it
        "token": pl.String,  # change token of the listing; a prefilter only
        "size": pl.Int64,  # bytes
        "content_hash": pl.String,  # sha256 of the bytes, hex; the key in the blob store
        "title": pl.String,
        "category": pl.String,
        "metadata": pl.String,  # JSON object
        "acl": pl.List(pl.String),
        "modified_at": TIME,
        "valid_from": TIME,
        "valid_until": TIME,
        "held": pl.Boolean,  # gone from the listing, kept by the delete guard
        "problem": pl.String,  # why the bytes could not be read; null when they could
        "digest": pl.String,  # of what a parser sees; attributes only travel along
        "attributes": pl.String,  # digest of the rest
    }
)

DOCUMENTS = _schema(
    {
        "doc_id": pl.String,
        "source": pl.String,
        "partition": pl.String,
        "uri": pl.String,
        "content_hash": pl.String,
        "media_type": pl.String,
        "title": pl.String,
        "text": pl.String,
        "headings": pl.List(HEADING),  # in order of start; the path of an offset follows from it
        "pages": pl.List(PAGE),
        "language": pl.String,
        "category": pl.String,
        "metadata": pl.String,  # JSON object: the source's plus what the parser found
        "acl": pl.List(pl.String),
        "modified_at": TIME,
        "valid_from": TIME,
        "valid_until": TIME,
        "held": pl.Boolean,
        "problem": pl.String,  # quarantine reason; such a row has no text
        "seconds": pl.Float64,  # that a quarantined document took until it was given up
        "lines": pl.List(pl.UInt64),  # keys of its lines, by which repeated ones are measured
        "sketch": pl.Binary,  # of its text, by which duplicates are found
        "parsed_title": pl.String,  # `title` is the source's own where it has one
        "parsed_metadata": pl.String,
        "parsed_digest": pl.String,  # of everything that parsing and cleaning found
        "fingerprint": pl.String,
        "attributes": pl.String,  # of the raw row whose attributes these are
        "digest": pl.String,  # of what chunks depend on
        "state": pl.String,  # of everything in the row that an index version stores
    }
)

CHUNKS = _schema(
    {
        "chunk_id": pl.String,
        "doc_id": pl.String,
        "source": pl.String,
        "partition": pl.String,
        "ordinal": pl.Int64,
        "text": pl.String,
        "start": pl.Int64,  # characters into the document's text
        "end": pl.Int64,
        "tokens": pl.Int64,  # of the embedding model's tokenizer, without special tokens
        "headings": pl.List(pl.String),
        "page": pl.Int64,
        "embed_text": pl.String,  # null: the text itself; else the exact text sent to the model
        "text_key": pl.String,  # sha256 of the exact text sent to the model, hex
        "fingerprint": pl.String,  # of the document's chunking; equal for all its chunks
    }
)

EMBEDDINGS = pl.Schema(
    {
        "chunk_id": pl.String,
        "doc_id": pl.String,
        "source": pl.String,
        "partition": pl.String,
        "text_key": pl.String,  # with `model`, the key of the vector in the embedding store
        "model": pl.String,  # model fingerprint
        "fingerprint": pl.String,
    }
)

MANIFEST = pl.Schema(
    {"chunk_id": pl.String, "doc_id": pl.String, "partition": pl.String, "text_key": pl.String}
)


class SchemaViolation(RagError):
    """A frame that crosses a stage's border does not have the declared columns or types."""


def checked(frame: pl.DataFrame, schema: pl.Schema, stage: str) -> pl.DataFrame:
    """Return `frame` with the columns of `schema` in order, or raise `SchemaViolation`.

    Null-typed columns (all values missing) are cast; every other difference is an error that names
    the column, the type found and the type wanted.
    """
    problems = []
    for name, wanted in schema.items():
        found = frame.schema.get(name)
        if found is None:
            problems.append(f"column {name!r} is missing")
        elif found != wanted and found != pl.Null:
            problems.append(f"column {name!r} is {found}, wanted {wanted}")
    extra = [name for name in frame.columns if name not in schema]
    if extra:
        problems.append(f"unknown columns {extra}")
    if problems:
        raise SchemaViolation(f"{stage}: " + "; ".join(problems))
    return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())


def digest_of(*parts: str | bytes | None) -> str:
    """Sha256 (hex, 32 characters) of the parts, framed by length so that no two lists collide."""
    hasher = hashlib.sha256()
    for part in parts:
        data = b"\xff" if part is None else part.encode() if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "big"))
        hasher.update(data)
    return hasher.hexdigest()[:32]


def text_key(text: str) -> str:
    """Sha256 (hex, 64 characters) of the exact text sent to an embedding model."""
    return hashlib.sha256(text.encode()).hexdigest()


def ids_digest(ids: Iterable[str]) -> str:
    """One digest of a set of ids, whatever their order."""
    return digest_of("\n".join(sorted(ids)))


def bucket_of(doc_id: str, buckets: int) -> str:
    """The two-or-more-digit hash bucket of a document, stable across machines and versions."""
    number = int.from_bytes(hashlib.blake2b(doc_id.encode(), digest_size=8).digest(), "big")
    return f"{number % buckets:02d}"
