from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_assets.errors import BadRequest
from rag_assets.index.columns import Columns
from rag_assets.retrieval.filters import document_filter, parse_where
from rag_assets_tests.retrieval.tiny import Doc, write_passages

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)

METADATA = [
    {"n": 1, "team": "hr", "ok": True},
    {"n": 1.0, "team": "it"},
    {"n": 1.5, "ok": False},
    {"n": 0, "team": ""},
    {"n": True, "team": "1"},
    {"n": False},
    {"n": "1", "team": "hr", "weird \"key' %": 3},
    {"n": -3, "tags": ["a", "b"]},
    {"n": 2**40, "tags": [1, 2]},
    {"z": 1, "tags": [1.5]},
    {"n": "Ünï", "team": "it", "ok": True},
    {"n": 10**17 + 1},
]
IDS = [f"d{n:02d}" for n in range(len(METADATA))]


@pytest.fixture(scope="module")
def chroma():
    client = chromadb.EphemeralClient(Settings(anonymized_telemetry=False))
    collection = client.create_collection("filters", embedding_function=None)
    vectors = np.random.default_rng(0).random((len(IDS), 4)).astype(np.float32)
    collection.add(ids=IDS, embeddings=vectors, metadatas=METADATA)
    yield collection
    client.delete_collection("filters")


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    docs = [Doc(doc_id, [], metadata=data) for doc_id, data in zip(IDS, METADATA, strict=True)]
    return columns_of(tmp_path_factory.mktemp("documents"), docs)


def columns_of(directory, docs):
    write_passages(directory, docs)
    return Columns(directory)


@contextmanager
def some_columns(docs):
    with TemporaryDirectory() as directory:
        yield columns_of(Path(directory), docs)


def named(columns, mask):
    return [doc_id for doc_id, kept in zip(columns.doc_ids, mask, strict=True) if kept]


def selected(columns, where):
    return named(columns, parse_where(where)(columns))


def visible(columns, where, groups, now=NOW):
    mask = document_filter(where, groups, now)(columns)
    return columns.doc_ids if mask is None else named(columns, mask)


keys = st.sampled_from(["n", "team", "ok", "z", "tags", "missing", "weird \"key' %"])
numbers = st.sampled_from([0, 1, -3, 2, 2**40, 10**17, 10**17 + 1]) | st.sampled_from(
    [1.0, 0.0, -3.0, 1e17]  # whole ones: see test_a_fraction_is_compared_exactly
)
scalars = numbers | st.booleans() | st.sampled_from(["hr", "it", "1", "", "a", "Ünï", "%"])
one_type = st.one_of(
    st.lists(st.sampled_from([0, 1, -3, 2**40]), min_size=1, max_size=3),
    st.lists(st.sampled_from([1.0, 0.0, -3.0]), min_size=1, max_size=3),
    st.lists(st.booleans(), min_size=1, max_size=2),
    st.lists(st.sampled_from(["hr", "it", "1", "Ünï"]), min_size=1, max_size=3),
)
simple = st.one_of(
    st.builds(lambda key, value: {key: value}, keys, scalars),
    st.builds(
        lambda key, operator, value: {key: {operator: value}},
        keys,
        st.sampled_from(["$eq", "$ne", "$contains", "$not_contains"]),
        scalars,
    ),
    st.builds(
        lambda key, operator, value: {key: {operator: value}},
        keys,
        st.sampled_from(["$gt", "$gte", "$lt", "$lte"]),
        numbers,
    ),
    st.builds(
        lambda key, operator, values: {key: {operator: values}},
        keys,
        st.sampled_from(["$in", "$nin"]),
        one_type,
    ),
)
filters = st.recursive(
    simple,
    lambda inner: st.builds(
        lambda operator, parts: {operator: parts},
        st.sampled_from(["$and", "$or"]),
        st.lists(inner, min_size=2, max_size=3),
    ),
    max_leaves=6,
)


@given(filters)
@settings(max_examples=400, deadline=None)
def test_means_what_it_means_in_chroma(chroma, documents, where):
    wanted = sorted(chroma.get(where=where, include=[])["ids"])
    assert selected(documents, where) == wanted


def test_a_fraction_is_compared_exactly(chroma, documents):
    """Chroma drops the fraction when the stored number is an integer, so that 1 equals 1.5."""
    assert "d00" in chroma.get(where={"n": 1.5}, include=[])["ids"]
    assert selected(documents, {"n": 1.5}) == ["d02"]
    assert selected(documents, {"n": {"$lt": 0.5}}) == ["d03", "d07"]


BAD = [
    ({}, "exactly one"),
    ({"a": 1, "b": 2}, r"combine several with \$and"),
    ({"n": {}}, "n: expected exactly one operator"),
    ({"n": {"$gt": 0, "$lt": 2}}, r"combine several with \$and"),
    ({"n": None}, r"n: \$eq expects"),
    ({"n": [1]}, r"n: \$eq expects"),
    ({"n": {"$foo": 1}}, r"n: unknown operator \$foo"),
    ({"$foo": []}, r"unknown operator \$foo"),
    ({"$not": {"n": 1}}, r"unknown operator \$not"),
    ({"$and": {"n": 1}}, r"\$and: expected a list"),
    ({"$or": [{"n": 1}]}, r"\$or: expected a list of two"),
    ({"n": {"$gt": "a"}}, r"n: \$gt expects a number, found 'a'"),
    ({"n": {"$lte": True}}, r"\$lte expects a number"),
    ({"n": {"$in": []}}, r"\$in expects a list that is not empty"),
    ({"n": {"$nin": "abc"}}, r"\$nin expects a list"),
    ({"n": {"$in": [1, "a"]}}, r"\$in expects values of one type"),
    ({"n": {"$in": [1, True]}}, r"\$in expects values of one type"),
    ({"n": float("nan")}, "finite"),
    ({"n": {"$gt": float("inf")}}, "finite"),
    ({"$and": [{"n": 1}, {"n": {"$in": [None]}}]}, r"\$in expects a text"),
]


@pytest.mark.parametrize(("where", "message"), BAD)
def test_bad_filters_name_what_is_wrong(where, message):
    with pytest.raises(BadRequest, match=message):
        parse_where(where)


@pytest.mark.parametrize(("where", "message"), BAD)
def test_chroma_refuses_them_too(chroma, where, message):
    with pytest.raises((ValueError, chromadb.errors.ChromaError)):
        chroma.get(where=where, include=[])


@pytest.mark.parametrize("where", ["n", [{"n": 1}], 3])
def test_a_filter_is_an_object(where):
    with pytest.raises(BadRequest, match="expected an object"):
        parse_where(where)


def test_deep_and_huge_filters_are_refused():
    where = {"n": 1}
    for _ in range(40):
        where = {"$and": [where, {"n": 1}]}
    with pytest.raises(BadRequest, match="nested"):
        parse_where(where)
    with pytest.raises(BadRequest, match="at most 10000 values"):
        parse_where({"n": {"$in": list(range(10_001))}})


@pytest.mark.parametrize("text", ["'", '"', "'; DROP TABLE documents; --", "%", "$", "\x00"])
def test_any_text_is_only_compared(documents, text):
    assert selected(documents, {"team": text}) == []
    assert len(selected(documents, {"team": {"$ne": text}})) == len(IDS)
    assert selected(documents, {"x" + text: 1}) == []


def test_huge_integers_compare_as_numbers(documents):
    assert selected(documents, {"n": {"$gt": 2**70}}) == []
    assert "d11" in selected(documents, {"n": {"$lt": 2**70}})


def test_document_fields_are_keys_too_unless_metadata_has_them(tmp_path):
    table = columns_of(tmp_path, [Doc("a", []), Doc("b", [], metadata={"language": "de"})])
    assert selected(table, {"doc_id": {"$in": ["b", "c"]}}) == ["b"]
    assert selected(table, {"media_type": "text/plain"}) == ["a", "b"]
    assert selected(table, {"language": "en"}) == ["a"]
    assert selected(table, {"language": {"$ne": "en"}}) == ["b"]
    assert selected(table, {"category": {"$ne": "x"}}) == ["a", "b"]


def test_keys_that_no_document_has_take_no_memory(documents):
    before = len(documents._loaded)
    for number in range(50):
        assert selected(documents, {f"unknown{number}": 1}) == []
        assert selected(documents, {f"unknown{number}": {"$contains": 1}}) == []
    assert len(documents._loaded) == before


GROUPS = ["hr", "it", "board"]


@given(
    st.lists(st.lists(st.sampled_from([*GROUPS, "everyone"]), max_size=3), min_size=1, max_size=8),
    st.lists(st.sampled_from([*GROUPS, "everyone", "' OR 1=1 --"]), max_size=3),
    filters | st.none(),
)
@settings(max_examples=80, deadline=None)
def test_groups_never_widen(acls, groups, where):
    docs = [Doc(f"d{n}", [], metadata=METADATA[n], acl=acl) for n, acl in enumerate(acls)]
    readable = {f"d{n}" for n, acl in enumerate(acls) if {*groups, "everyone"} & set(acl)}
    with some_columns(docs) as columns:
        found = set(visible(columns, where, groups))
        trusted = set(visible(columns, where, None))
    assert found == trusted & readable


@pytest.mark.parametrize("groups", ["hr", [1], [None]])
def test_groups_are_a_list_of_texts(groups):
    with pytest.raises(BadRequest, match="groups: expected a list of texts"):
        document_filter(None, groups, NOW)


times = st.none() | st.sampled_from(
    [NOW + timedelta(seconds=s) for s in (-86400, -1, 0, 1, 86400)]
    + [NOW + timedelta(microseconds=m) for m in (-1, 1, 500_000)]
)


@given(times, times)
@settings(max_examples=60, deadline=None)
def test_validity_includes_the_first_moment_and_not_the_last(start, end):
    valid = (start is None or start <= NOW) and (end is None or end > NOW)
    local = NOW.astimezone(timezone(timedelta(hours=5)))
    with some_columns([Doc("d", [], valid_from=start, valid_until=end)]) as columns:
        assert visible(columns, None, None) == (["d"] if valid else [])
        assert visible(columns, None, None, local) == (["d"] if valid else [])
