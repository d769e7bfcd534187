import gzip
import json
from datetime import date

import fsspec
import polars as pl
import pytest

from rag_assets.config import RecordsConfig
from rag_assets.errors import ConfigError, SourceError
from rag_assets.sources import Entry, open_source

ROWS = [
    {"_id": "a", "title": "First", "text": "Text of the first.", "year": 2024, "open": True},
    {"_id": "b/2", "title": "", "text": "Zweiter\nText", "year": None, "score": 0.5},
    {"_id": 3, "text": "third", "tags": ["x"], "published": "2024-05-01"},
]


def source_of(path, **settings):
    defaults = {"id": "_id", "title": "title", "text": "text"}
    config = RecordsConfig(name="r", type="records", path=str(path), **{**defaults, **settings})
    return open_source(config)


def json_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_row_is_an_entry(tmp_path):
    path = json_lines(tmp_path / "corpus.jsonl", ROWS)
    source = source_of(path)
    entries = list(source.scan())
    assert entries[0] == Entry(
        key="a",
        uri=f"{path.as_uri()}#a",
        name="a.txt",
        token=entries[0].token,
        size=18,
        modified_at=None,
        title="First",
        metadata={"year": 2024, "open": True},
    )
    assert [entry.key for entry in entries] == ["a", "b/2", "3"]
    assert [entry.title for entry in entries] == ["First", None, None]
    assert entries[1].uri.endswith("#b%2F2")
    assert entries[1].metadata == {"score": 0.5}
    assert entries[2].metadata == {"published": "2024-05-01"}
    assert [source.fetch(entry) for entry in entries] == [
        b"Text of the first.",
        b"Zweiter\nText",
        b"third",
    ]


def test_formats_agree(tmp_path):
    rows = [
        {"_id": f"d{i}", "title": f"T {i}", "text": f'line one\nline "two" of {i}, ä漢\r\n'}
        for i in range(5000)
    ]
    frame = pl.DataFrame(rows)
    json_lines(tmp_path / "rows.jsonl", rows)
    frame.write_csv(tmp_path / "rows.csv")
    frame.write_csv(tmp_path / "rows.tsv", separator="\t")
    frame.write_csv(tmp_path / "semicolon.csv", separator=";")
    frame.write_parquet(tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress((tmp_path / "rows.jsonl").read_bytes()))
    wanted = [(row["_id"], row["title"], row["text"].encode()) for row in rows]
    tokens = set()
    for path in sorted(tmp_path.iterdir()):
        source = source_of(path)
        entries = list(source.scan())
        found = [(e.key, e.title, source.fetch(e)) for e in entries]
        assert found == wanted, path.name
        tokens.add(entries[5].token)
    assert len(tokens) == 1


def test_fetching_works_without_a_scan_before(tmp_path):
    path = json_lines(tmp_path / "corpus.jsonl", ROWS)
    entry = list(source_of(path).scan())[2]
    assert source_of(path).fetch(entry) == b"third"


def test_rows_that_cannot_be_used_are_listed_with_their_problem(tmp_path):
    lines = [
        b'{"_id": "a", "text": "one"}',
        b'{"_id": "b", "text": "broken',
        b'{"_id": "a", "text": "again"}',
        b'{"text": "no id"}',
        b'{"_id": "c"}',
        b'{"_id": "d", "text": " "}',
        b"[1, 2]",
        b"",
        b'{"_id": true, "text": "x"}',
        b'{"_id": "e", "text": "caf\xe9"}',
        b'{"_id": "f", "text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"_id": "z", "text": "last"}',
    ]
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b"\n".join(lines))
    source = source_of(path)
    found = {entry.key: entry.problem for entry in source.scan()}
    assert "maximum recursion depth exceeded" in found.pop("#row-10")
    assert found.pop("#row-9").startswith("row 9 is not a JSON object: 'utf-8' codec")
    assert found.pop("#row-2").startswith("row 2 is not a JSON object: Invalid control")
    assert found == {
        "a": None,
        "a#row-3": "duplicate id 'a': row 3 has the id of an earlier row",
        "#row-4": "row 4 has no id in column '_id'",
        "c": "row 5 has no text in column 'text'",
        "d": "row 6 has no text in column 'text'",
        "#row-7": "row 7 is not a JSON object: found list",
        "#row-8": "row 8 has no id in column '_id'",
        "z": None,
    }


def test_a_line_of_100_mb_is_a_problem_and_the_rest_goes_on(tmp_path):
    path = tmp_path / "corpus.jsonl"
    with open(path, "wb") as file:
        file.write(b'{"_id": "a", "text": "one"}\n{"_id": "b", "text": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n{"_id": "c", "text": "three"}\n')
    source = source_of(path)
    entries = list(source.scan())
    assert [(e.key, e.problem) for e in entries] == [
        ("a", None),
        ("#row-2", "row 2 has 95 MiB, the limit is 64 MiB"),
        ("c", None),
    ]
    assert source.fetch(entries[2]) == b"three"


def test_lone_surrogates_are_replaced(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": "a\\ud800", "title": "t\\udfff", "text": "x\\ud800y"}\n')
    source = source_of(path)
    (entry,) = source.scan()
    assert (entry.key, entry.title) == ("a\ufffd", "t\ufffd")
    assert source.fetch(entry).decode() == "x\ufffdy"


def test_a_changed_row_changes_its_token_only(tmp_path):
    path = json_lines(tmp_path / "corpus.jsonl", ROWS)
    before = {entry.key: entry.token for entry in source_of(path).scan()}
    json_lines(path, [{"_id": "new", "text": "n"}, *ROWS[:2], {**ROWS[2], "text": "other"}])
    after = {entry.key: entry.token for entry in source_of(path).scan()}
    assert {key for key in before if before[key] != after[key]} == {"3"}


def test_a_file_that_changes_between_listing_and_fetching_is_noticed(tmp_path):
    path = json_lines(tmp_path / "corpus.jsonl", ROWS)
    source = source_of(path)
    entries = list(source.scan())
    json_lines(path, [{"_id": "a", "text": "Text of the worst."}, *ROWS[1:]])
    with pytest.raises(SourceError, match=r"corpus.jsonl"):
        source.fetch(entries[0])


def test_parquet_cells_become_plain_metadata(tmp_path):
    pl.DataFrame(
        {"_id": [1], "text": ["t"], "day": [date(2024, 5, 1)], "n": [float("nan")], "l": [[1]]}
    ).write_parquet(tmp_path / "rows.parquet")
    (entry,) = source_of(tmp_path / "rows.parquet", title=None).scan()
    assert entry.key == "1"
    assert entry.metadata == {"day": "2024-05-01"}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_missing_column_names_those_there_are(tmp_path, suffix):
    frame = pl.DataFrame({"_id": ["a"], "body": ["t"]})
    path = tmp_path / f"rows.{suffix}"
    frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
    with pytest.raises(SourceError, match=r"no column 'text'; its columns are \['_id', 'body'\]"):
        list(source_of(path, title=None).scan())


def test_json_lines_without_any_id_are_refused(tmp_path):
    path = json_lines(tmp_path / "rows.jsonl", [{"key": 1, "text": "t"}])
    with pytest.raises(SourceError, match="none of its 1 rows has a usable id in '_id'"):
        list(source_of(path).scan())


def test_a_quote_that_is_never_closed_fails_the_listing(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('_id,text\n1,one\n2,"two\n3,three\n4,four\n')
    with pytest.raises(SourceError, match="a quote opened in row 2 is never closed"):
        list(source_of(path, title=None).scan())


def test_a_stray_quote_in_one_line_does_not(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('\ufeff_id,text\n1,a 5" disk\n\n2,two\n')
    source = source_of(path, title=None)
    assert [source.fetch(entry) for entry in source.scan()] == [b'a 5" disk', b"two"]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl", "rows.csv"])
def test_binary_garbage_is_an_error(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(range(256)) * 40)
    with pytest.raises(SourceError, match="nothing of the source was changed"):
        list(source_of(tmp_path / name).scan())


def test_an_unknown_format_names_the_known_ones(tmp_path):
    (tmp_path / "rows.xml").write_text("<a/>")
    with pytest.raises(ConfigError, match=r"ends in '\.xml'; expected \.jsonl"):
        list(source_of(tmp_path / "rows.xml").scan())


def test_a_beir_folder_stands_for_its_corpus(tmp_path):
    json_lines(tmp_path / "corpus.jsonl", ROWS)
    assert [entry.key for entry in source_of(tmp_path).scan()] == ["a", "b/2", "3"]


def test_an_empty_file_lists_nothing(tmp_path):
    (tmp_path / "rows.jsonl").write_text("")
    assert list(source_of(tmp_path / "rows.jsonl").scan()) == []


def test_a_url_is_copied_and_read(tmp_path):
    with fsspec.open("memory://records/rows.jsonl", "w") as file:
        file.write("".join(json.dumps(row) + "\n" for row in ROWS))
    source = source_of("memory://records/rows.jsonl")
    entries = list(source.scan())
    assert entries[0].uri == "memory://records/rows.jsonl#a"
    assert source.fetch(entries[1]) == b"Zweiter\nText"
    with pytest.raises(SourceError, match="cannot be read"):
        list(source_of("memory://records/none.jsonl").scan())
