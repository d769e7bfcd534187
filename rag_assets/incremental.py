"""The one mechanism by which every stage computes only what changed.

A stage maps input rows to output rows, one or many each. Each output row carries the fingerprint of
what made it: the stage's recipe and its input row's digest. Rows of the previous output whose
fingerprint is still the wanted one are kept as they are; only the other inputs are computed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from rag_assets.records import checked


@dataclass(frozen=True, slots=True)
class Reuse:
    """What a stage did: its output, and how many inputs were kept and computed."""

    frame: pl.DataFrame
    kept: int
    computed: int


def fingerprints(inputs: pl.DataFrame, recipe: str | pl.Expr) -> pl.Expr:
    """The fingerprint of each input's output: RECIPE-DIGEST."""
    first = pl.lit(recipe) if isinstance(recipe, str) else recipe
    return pl.concat_str(first, pl.lit("-"), pl.col("digest")).alias("fingerprint")


def reuse(
    previous: pl.DataFrame | None,
    inputs: pl.DataFrame,
    *,
    schema: pl.Schema,
    stage: str,
    compute: Callable[[pl.DataFrame], pl.DataFrame],
    carry: tuple[str, ...] = (),
) -> Reuse:
    """The stage's output for `inputs`, computing only rows whose fingerprint is new.

    previous: the stage's last output for the same partitions, or None.
    inputs: one row a document, with `doc_id` and the wanted `fingerprint`.
    compute: inputs → output rows, with `doc_id`; the fingerprint is set here.
    carry: columns copied from the input into kept rows too, because they are cheap attributes that
        no computation depends on.

    An input that yields no output row is computed again next time; a stage that wants to remember
    a failure writes a row that says so.
    """
    if previous is None or list(previous.schema.items()) != list(schema.items()):
        previous = schema.to_frame()
    wanted = inputs.select("doc_id", "fingerprint")
    kept = previous.join(wanted, on=["doc_id", "fingerprint"], how="semi")
    missing = inputs.join(
        kept.select("doc_id", "fingerprint"), on=["doc_id", "fingerprint"], how="anti"
    )
    if carry and kept.height:
        fresh = inputs.select("doc_id", *carry)
        kept = kept.drop(carry).join(fresh, on="doc_id", how="left", maintain_order="left")
        kept = kept.select(schema.names())
    if missing.is_empty():
        return Reuse(checked(kept, schema, stage), inputs.height, 0)
    made = compute(missing).drop("fingerprint", strict=False)
    made = made.join(missing.select("doc_id", "fingerprint"), on="doc_id", maintain_order="left")
    frame = pl.concat([kept, checked(made, schema, stage)])
    return Reuse(frame, inputs.height - missing.height, missing.height)
