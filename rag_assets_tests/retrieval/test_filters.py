import json
import sqlite3
from datetime import UTC, datetime, timedelta, timezone

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_assets.errors import BadRequest
from rag_assets.retrieval.filters import document_condition, where_condition

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


def database(rows):
    """A documents table like that of a version; rows: doc_id, metadata, acl, from, until."""
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE TABLE documents (doc_id TEXT PRIMARY KEY, source TEXT, uri TEXT, title TEXT,"
        " media_type TEXT, language TEXT, category TEXT, metadata TEXT, acl TEXT,"
        " modified_at TEXT, valid_from TEXT, valid_until TEXT)"
    )
    for doc_id, metadata, acl, start, end in rows:
        connection.execute(
            "INSERT INTO documents VALUES (?,'docs',?,?,'text/plain','en',NULL,?,?,NULL,?,?)",
            (
                doc_id,
                f"file:///{doc_id}",
                doc_id,
                json.dumps(metadata),
                json.dumps(acl),
                start,
                end,
            ),
        )
    return connection


@pytest.fixture(scope="module")
def documents():
    return database(
        (doc_id, metadata, ["everyone"], None, None)
        for doc_id, metadata in zip(IDS, METADATA, strict=True)
    )


def selected(connection, condition):
    sql = f"SELECT doc_id FROM documents WHERE {condition.sql} ORDER BY doc_id"
    return [row[0] for row in connection.execute(sql, condition.values)]


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
    assert selected(documents, where_condition(where)) == wanted


def test_a_fraction_is_compared_exactly(chroma, documents):
    """Chroma drops the fraction when the stored number is an integer, so that 1 equals 1.5."""
    assert "d00" in chroma.get(where={"n": 1.5}, include=[])["ids"]
    assert selected(documents, where_condition({"n": 1.5})) == ["d02"]
    assert selected(documents, where_condition({"n": {"$lt": 0.5}})) == ["d03", "d07"]


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
        where_condition(where)


@pytest.mark.parametrize(("where", "message"), BAD)
def test_chroma_refuses_them_too(chroma, where, message):
    with pytest.raises((ValueError, chromadb.errors.ChromaError)):
        chroma.get(where=where, include=[])


@pytest.mark.parametrize("where", ["n", [{"n": 1}], 3])
def test_a_filter_is_an_object(where):
    with pytest.raises(BadRequest, match="expected an object"):
        where_condition(where)


def test_deep_and_huge_filters_are_refused():
    where = {"n": 1}
    for _ in range(40):
        where = {"$and": [where, {"n": 1}]}
    with pytest.raises(BadRequest, match="nested"):
        where_condition(where)
    with pytest.raises(BadRequest, match="more than 500 values"):
        document_condition({"n": {"$in": list(range(600))}}, None, NOW)


@pytest.mark.parametrize("text", ["'", '"', "'; DROP TABLE documents; --", "%", "$", "\x00"])
def test_no_text_becomes_sql(documents, text):
    assert selected(documents, where_condition({"team": text})) == []
    assert len(selected(documents, where_condition({"team": {"$ne": text}}))) == len(IDS)
    assert selected(documents, where_condition({"x" + text: 1})) == []


def test_huge_integers_compare_as_numbers(documents):
    assert selected(documents, where_condition({"n": {"$gt": 2**70}})) == []
    assert "d11" in selected(documents, where_condition({"n": {"$lt": 2**70}}))


def test_document_fields_are_keys_too_unless_metadata_has_them():
    rows = [
        ("a", {}, ["everyone"], None, None),
        ("b", {"language": "de"}, ["everyone"], None, None),
    ]
    table = database(rows)
    assert selected(table, where_condition({"source": "docs"})) == ["a", "b"]
    assert selected(table, where_condition({"language": "en"})) == ["a"]
    assert selected(table, where_condition({"language": {"$ne": "en"}})) == ["b"]
    assert selected(table, where_condition({"category": {"$ne": "x"}})) == ["a", "b"]
    assert selected(table, where_condition({"doc_id": {"$in": ["b", "c"]}})) == ["b"]


GROUPS = ["hr", "it", "board"]


@given(
    st.lists(st.lists(st.sampled_from([*GROUPS, "everyone"]), max_size=3), max_size=8),
    st.lists(st.sampled_from([*GROUPS, "everyone", "' OR 1=1 --"]), max_size=3),
    filters | st.none(),
)
@settings(max_examples=150, deadline=None)
def test_groups_never_widen(acls, groups, where):
    table = database((f"d{n}", METADATA[n], acl, None, None) for n, acl in enumerate(acls))
    readable = {f"d{n}" for n, acl in enumerate(acls) if {*groups, "everyone"} & set(acl)}
    found = set(selected(table, document_condition(where, groups, NOW)))
    trusted = set(selected(table, document_condition(where, None, NOW)))
    assert found == trusted & readable


@pytest.mark.parametrize("groups", ["hr", [1], [None]])
def test_groups_are_a_list_of_texts(groups):
    with pytest.raises(BadRequest, match="groups: expected a list of texts"):
        document_condition(None, groups, NOW)


times = st.none() | st.sampled_from(
    [NOW + timedelta(seconds=s) for s in (-86400, -1, 0, 1, 86400)]
    + [NOW + timedelta(microseconds=m) for m in (-1, 1, 500_000)]
)


@given(times, times)
def test_validity_includes_the_first_moment_and_not_the_last(start, end):
    def stored(moment):
        return None if moment is None else moment.isoformat()

    table = database([("d", {}, ["everyone"], stored(start), stored(end))])
    valid = (start is None or start <= NOW) and (end is None or end > NOW)
    assert selected(table, document_condition(None, None, NOW)) == (["d"] if valid else [])
    local = NOW.astimezone(timezone(timedelta(hours=5)))
    assert selected(table, document_condition(None, None, local)) == (["d"] if valid else [])
