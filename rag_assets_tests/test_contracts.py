"""A frame that breaks a stage's contract is refused with the row, the column and the value."""

import polars as pl
import pytest

from rag_assets.contracts import RULES, demand
from rag_assets.lake import STAGES, Lake
from rag_assets.records import CHUNKS, RAW_DOCUMENTS, SchemaViolation

CHUNK = {
    "chunk_id": "c1",
    "doc_id": "docs/a.md",
    "source": "docs",
    "partition": "docs:00",
    "ordinal": 0,
    "text": "Words.",
    "start": 0,
    "end": 6,
    "tokens": 2,
    "headings": [],
    "page": None,
    "embed_text": None,
    "text_key": "0" * 64,
    "fingerprint": "f",
}


def chunks(**changed) -> pl.DataFrame:
    rows = [CHUNK, {**CHUNK, "chunk_id": "c2", **changed}]
    return pl.DataFrame(rows, schema=CHUNKS)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"text": None}, "row 'c2': column 'text' is None, wanted a value"),
        ({"end": 0}, "row 'c2': column 'end' is 0, wanted more than start"),
        ({"start": -1}, "row 'c2': column 'start' is -1, wanted 0 or more"),
        ({"chunk_id": "c1"}, "row 'c1': column 'chunk_id' is 'c1', wanted a value of its own"),
        ({"partition": "docs:01"}, "column 'partition' is 'docs:01', wanted 'docs:00'"),
    ],
)
def test_a_violation_names_row_column_and_value(changed, told) -> None:
    demand(chunks(), "chunks", "docs:00")
    with pytest.raises(SchemaViolation) as refusal:
        demand(chunks(**changed), "chunks", "docs:00")
    assert told in str(refusal.value)


def test_nothing_that_breaks_it_reaches_the_lake(tmp_path) -> None:
    lake = Lake.at(tmp_path)
    with pytest.raises(SchemaViolation, match="chunks, row 'c2'"):
        lake.write("chunks", ["docs:00"], chunks(text=None))
    assert lake.read("chunks", ["docs:00"]).is_empty()


def test_every_stage_has_rules_over_its_own_columns() -> None:
    assert set(RULES) == set(STAGES)
    for stage, rules in RULES.items():
        assert {rule.column for rule in rules} <= set(STAGES[stage])
        demand(STAGES[stage].to_frame(), stage, "docs:00")
    assert "metadata" in RAW_DOCUMENTS
