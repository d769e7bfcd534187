"""What every row of a stage must be, checked where a stage's frame is written.

Types are checked by `records.checked`; this is about values. A violation is a bug or damage, never
a bad document: those are quarantined.
"""

from dataclasses import dataclass

import polars as pl

from rag_assets.records import SchemaViolation


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that holds of every row. broken: true for rows of which it does not hold."""

    column: str
    wanted: str
    broken: pl.Expr


def _given(*columns: str) -> tuple[Rule, ...]:
    return tuple(Rule(name, "a value", pl.col(name).is_null()) for name in columns)


def _once(column: str) -> Rule:
    return Rule(column, "a value of its own", pl.col(column).is_duplicated())


_OBJECT = Rule("metadata", "a JSON object", ~pl.col("metadata").str.starts_with("{"))
_HEALTHY = pl.col("problem").is_null()

RULES: dict[str, tuple[Rule, ...]] = {
    "raw_documents": (
        *_given("doc_id", "source", "uri", "name", "token", "digest", "attributes", "held"),
        _once("doc_id"),
        _OBJECT,
        Rule("content_hash", "a value", _HEALTHY & pl.col("content_hash").is_null()),
        Rule("size", "0 or more", pl.col("size") < 0),
    ),
    "documents": (
        *_given("doc_id", "source", "uri", "metadata", "fingerprint", "digest", "state"),
        _once("doc_id"),
        _OBJECT,
        Rule("text", "a value", _HEALTHY & pl.col("text").is_null()),
    ),
    "chunks": (
        *_given("chunk_id", "doc_id", "source", "text", "text_key", "fingerprint"),
        _once("chunk_id"),
        Rule("start", "0 or more", pl.col("start") < 0),
        Rule("end", "more than start", pl.col("end") <= pl.col("start")),
        Rule("tokens", "0 or more", pl.col("tokens") < 0),
    ),
    "embeddings": (
        *_given("chunk_id", "doc_id", "source", "text_key", "model"),
        _once("chunk_id"),
        Rule("text_key", "64 hex digits", ~pl.col("text_key").str.contains("^[0-9a-f]{64}$")),
    ),
}
_SHOWN = 80  # characters of a value


def demand(frame: pl.DataFrame, stage: str, partition: str) -> None:
    """Every rule of a stage, of every row of one partition.

    Raises: SchemaViolation naming the row, the column, the value found and what was wanted.
    """
    rules = (
        *RULES[stage],
        Rule("partition", repr(partition), pl.col("partition").ne_missing(pl.lit(partition))),
    )
    broken = frame.select(rule.broken.any().alias(str(i)) for i, rule in enumerate(rules))
    for place, rule in enumerate(rules):
        if frame.height and broken.item(0, place):
            row = frame.filter(rule.broken).row(0, named=True)
            value = repr(row[rule.column])[:_SHOWN]
            raise SchemaViolation(
                f"{stage}, row {row.get('chunk_id') or row['doc_id']!r}: column {rule.column!r} is"
                f" {value}, wanted {rule.wanted}"
            )
