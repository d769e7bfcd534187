import json

import pytest

from rag_assets.errors import ConfigError
from rag_assets.evaluation.eval_set import load_eval_set


def jsonl(path, *rows):
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_reads_every_key(tmp_path):
    row = {
        "id": "q1",
        "query": "Wie viele Urlaubstage? 休暇",
        "relevant": ["docs/hr/vacation.md", "docs/hr/leave.md"],
        "grades": {"docs/hr/vacation.md": 2},
        "passages": ["thirty days"],
        "answer": "30",
        "tags": ["leave"],
        "groups": ["hr"],
    }
    found = load_eval_set(
        jsonl(
            tmp_path / "handbook.jsonl",
            row,
            "",
            {"query": "x", "relevant": []},
            {"query": "y", "relevant": [], "groups": None},
            {"query": "z", "relevant": [], "groups": []},
        )
    )
    first, second, anyone, nobody = found.queries
    assert (anyone.groups, nobody.groups) == (None, ())
    assert found.name == "handbook"
    assert (first.id, first.query, first.answer) == ("q1", row["query"], "30")
    assert dict(first.relevant) == {"docs/hr/vacation.md": 2, "docs/hr/leave.md": 1}
    assert (first.passages, first.tags, first.groups) == (("thirty days",), ("leave",), ("hr",))
    assert (second.id, second.answerable, second.groups) == ("3", False, None)


def test_documents_are_meant_however_their_letters_are_composed(tmp_path):
    composed, apart = "docs/\u00fcber.md", "docs/u\u0308ber.md"
    file = jsonl(tmp_path / "set.jsonl", {"query": "q", "relevant": [composed, "docs/a.md"]})
    [query] = load_eval_set(file, doc_ids=[apart, "docs/a.md"]).queries
    assert dict(query.relevant) == {apart: 1, "docs/a.md": 1}
    [query] = load_eval_set(file, doc_ids=[composed]).queries
    assert dict(query.relevant) == {composed: 1, "docs/a.md": 1}


def test_the_hash_follows_the_content_not_the_spelling(tmp_path):
    row = {"id": "a", "query": "q", "relevant": ["d"]}
    one = load_eval_set(jsonl(tmp_path / "one.jsonl", row))
    same = load_eval_set(jsonl(tmp_path / "two.jsonl", "", dict(reversed(row.items()))))
    other = load_eval_set(jsonl(tmp_path / "three.jsonl", row | {"grades": {"d": 2}}))
    assert one.content_hash == same.content_hash != other.content_hash


def test_every_mistake_is_reported_with_file_line_and_key(tmp_path):
    file = jsonl(
        tmp_path / "bad.jsonl",
        {"id": "a", "query": "fine", "relevant": ["d"]},
        {"id": "b", "query": " ", "relevant": "d"},
        "{not json",
        {"id": "a", "query": "again", "relevant": []},
        {"id": "c", "query": "x", "relevent": []},
        {"id": "d", "query": "x", "relevant": [], "grades": {"d": 1.5}},
        "[1]",
        {"id": None, "query": "x", "relevant": []},
        {"id": "e", "query": "x", "relevant": None},
        {"id": "f", "query": "x", "relevant": ["d"], "grades": {"d": 0}},
    )
    with pytest.raises(ConfigError) as caught:
        load_eval_set(file)
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{file}:").split(":")[0] for line in lines] == [
        *"22345567",
        *("8", "9", "10"),
    ]
    assert "query: expected a text that is not empty, found ' '" in lines[0]
    assert "relevant: expected a list of texts, found 'd'" in lines[1]
    assert "not JSON" in lines[2]
    assert "id: 'a' is already used in line 1" in lines[3]
    assert "relevent: unknown key" in lines[4]
    assert "relevant: expected a list of doc_ids" in lines[5]
    assert "grades: expected doc_id to whole number" in lines[6]
    assert "expected one JSON object a line" in lines[7]
    assert "id: expected a text or a whole number, found None" in lines[8]
    assert "relevant: expected a list of doc_ids ([] for unanswerable)" in lines[9]
    assert "grades: 'd' is relevant, and graded 0; expected either" in lines[10]


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_set_is_an_error(tmp_path, content):
    (tmp_path / "empty.jsonl").write_text(content)
    with pytest.raises(ConfigError, match="no queries"):
        load_eval_set(tmp_path / "empty.jsonl")


def test_a_missing_or_binary_file_is_an_error(tmp_path):
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    for name in ("binary.jsonl", "nothing.jsonl"):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_eval_set(tmp_path / name)


@pytest.fixture
def beir(tmp_path):
    folder = tmp_path / "cran"
    (folder / "qrels").mkdir(parents=True)
    jsonl(folder / "queries.jsonl", *({"_id": f"q{n}", "text": f"question {n}"} for n in (1, 2, 3)))
    return folder


def qrels(folder, text, name="test"):
    (folder / "qrels" / f"{name}.tsv").write_text(text)


HEADER = "query-id\tcorpus-id\tscore\n"


def test_beir_ids_resolve_to_documents_of_the_knowledge_base(beir):
    qrels(beir, HEADER + "q1\ta\t3\nq1\tb\t0\nq2\tgone\t1\nq2\tb\t2\n")
    held = ["papers/a", "papers/b", "web/a"]
    found = load_eval_set(beir, "beir", ["web", "papers"], held)
    assert found.name == "cran"
    assert {q.id: dict(q.relevant) for q in found.queries} == {
        "q1": {"papers/a": 3},  # papers holds more of the set than web does
        "q2": {"papers/gone": 1, "papers/b": 2},
    }


def test_beir_ids_that_are_documents_already_stay(beir):
    qrels(beir, "q1\tdocs/a.md\t1\n")
    found = load_eval_set(beir, "beir", ["docs"], ["docs/a.md"])
    assert dict(found.queries[0].relevant) == {"docs/a.md": 1}


def test_test_judgements_are_preferred(beir):
    qrels(beir, HEADER + "q1\ta\t1\n")
    qrels(beir, HEADER + "q2\ta\t1\n", "dev")
    assert [q.id for q in load_eval_set(beir, "beir").queries] == ["q1"]


def test_beir_mistakes_name_the_file_and_line(beir):
    qrels(beir, HEADER + "q1\ta\n" + "q9\ta\t1\n" + "q1\ta\tx\n")
    with pytest.raises(ConfigError) as caught:
        load_eval_set(beir, "beir")
    file = beir / "qrels" / "test.tsv"
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [
        f"{file}:2",
        f"{file}:3",
        f"{file}:4",
    ]


def test_a_folder_without_judgements_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="expected a BEIR folder"):
        load_eval_set(tmp_path, "beir")
