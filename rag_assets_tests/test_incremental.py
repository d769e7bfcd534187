import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from rag_assets.incremental import fingerprints, reuse

OUTPUT = pl.Schema({"doc_id": pl.String, "value": pl.String, "fingerprint": pl.String})
documents = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("xyz"), max_size=6)


def frame(content: dict[str, str], recipe: str) -> pl.DataFrame:
    rows = pl.DataFrame(
        {"doc_id": list(content), "digest": list(content.values())},
        schema={"doc_id": pl.String, "digest": pl.String},
    )
    return rows.with_columns(fingerprints(rows, recipe))


def run(previous: pl.DataFrame | None, content: dict[str, str], recipe: str):
    computed: list[str] = []

    def compute(missing: pl.DataFrame) -> pl.DataFrame:
        computed.extend(missing["doc_id"])
        return missing.select("doc_id", value=pl.col("digest") + recipe)

    done = reuse(previous, frame(content, recipe), schema=OUTPUT, stage="test", compute=compute)
    return done, sorted(computed)


@given(first=documents, second=documents, recipes=st.tuples(*[st.sampled_from("12")] * 2))
def test_equals_a_clean_run_and_computes_only_what_differs(first, second, recipes) -> None:
    before, _ = run(None, first, recipes[0])
    after, computed = run(before.frame, second, recipes[1])
    clean, _ = run(None, second, recipes[1])
    assert after.frame.sort("doc_id").equals(clean.frame.sort("doc_id"))
    same = {d for d in second if first.get(d) == second[d] and recipes[0] == recipes[1]}
    assert computed == sorted(set(second) - same)
    assert (after.kept, after.computed) == (len(same), len(second) - len(same))


def test_previous_rows_of_an_older_layout_are_not_reused() -> None:
    old = pl.DataFrame({"doc_id": ["a"], "fingerprint": ["1-x"]})
    done, computed = run(old, {"a": "x"}, "1")
    assert computed == ["a"]
    assert done.frame["value"].to_list() == ["x1"]


def test_one_input_may_yield_many_rows() -> None:
    def twice(missing: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([missing.select("doc_id", value=pl.lit(v)) for v in ("one", "two")])

    inputs = frame({"a": "x", "b": "y"}, "1")
    first = reuse(None, inputs, schema=OUTPUT, stage="test", compute=twice)
    assert first.frame.height == 4
    again = reuse(first.frame, inputs, schema=OUTPUT, stage="test", compute=twice)
    assert (again.kept, again.computed, again.frame.height) == (2, 0, 4)
