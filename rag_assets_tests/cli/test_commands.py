"""Commands as a user types them: what they print, what they exit with, what bad input gets."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rag_assets.cli import app as application
from rag_assets.cli import (  # noqa: F401
    erase_commands,
    evalset_commands,
    evaluation_commands,
    inspect_commands,
    letters_commands,
    operations_commands,
    query_commands,
    refresh_commands,
    service_commands,
)
from rag_assets_tests.conftest import SUBJECTS, SmallBase, document


def call(*words: object) -> Result:
    return CliRunner().invoke(application.app, [str(word) for word in words])


def reply(*words: object, status: int = 0) -> dict[str, Any]:
    """The one JSON object on stdout of a command that exits with `status`."""
    result = call(*words, "--json")
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> SmallBase:
    """A refreshed knowledge base that tests only read."""
    made = SmallBase(tmp_path_factory.mktemp("cli") / "kb")
    made.fill(6)
    made.ask_about(list(SUBJECTS[:6]), **{"recall@5": 0.5, "min_queries": 3})
    assert reply("refresh", "--config", made.path)["promoted"]
    return made


@pytest.fixture(autouse=True)
def own_dagster_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands without DAGSTER_HOME set it for themselves; each test starts without."""
    monkeypatch.setenv("DAGSTER_HOME", "")


def test_a_dry_run_says_what_would_be_done_and_does_nothing(small: SmallBase) -> None:
    small.fill(2)
    plan = reply("refresh", "--dry-run", "--config", small.path)
    assert (plan["listed"], plan["reasons"]["new in docs"]) == (2, 2)
    told = call("refresh", "--dry-run", "--config", small.path)
    assert "2 documents listed" in told.output
    assert "2 new in docs" in told.output
    assert not list((small.root / "store").glob("lake/raw_documents/*/*.parquet"))


def test_refresh_prints_the_receipt_of_the_contract(base: SmallBase) -> None:
    receipt = reply("refresh", "--config", base.path)
    assert (receipt["version"], receipt["live_version"], receipt["promoted"]) == (1, 1, False)
    assert len(receipt["run_id"]) == 36
    assert receipt["seconds"] > 0
    assert receipt["documents"] == {
        "listed": 6,
        "unchanged": 6,
        "added": 0,
        "changed": 0,
        "deleted": 0,
        "quarantined": 0,
        "held": 0,
    }
    assert receipt["chunks"]["added"] == 0 < receipt["chunks"]["kept"]
    assert receipt["embeddings"]["computed"] == 0 == receipt["embeddings"]["usd"]
    assert receipt["embeddings"]["reused"] == receipt["chunks"]["kept"]
    assert receipt["gate"]["passed"] is True
    for check in receipt["gate"]["checks"]:
        assert {"name", "passed", "value", "floor"} <= set(check)


def test_search_prints_hits_with_their_place(base: SmallBase) -> None:
    found = reply("search", "who answers payroll requests", "-k", 3, "--config", base.path)
    assert found["index_version"] == 1
    assert [hit["rank"] for hit in found["hits"]] == [1, 2, 3]
    hit = found["hits"][0]
    assert (hit["doc_id"], hit["source"]) == ("docs/payroll.md", "docs")
    text = (base.documents / "payroll.md").read_text()
    assert text[hit["start"] : hit["end"]] == hit["text"]
    assert hit["uri"] == (base.documents / "payroll.md").as_uri()
    assert hit["heading"][0] == "About payroll"
    assert "signals" not in hit


def test_search_explains_and_takes_weights(base: SmallBase) -> None:
    def first(*options: object) -> dict[str, Any]:
        asked = ("search", "payroll requests", "--config", base.path, "--explain", *options)
        return reply(*asked)["hits"][0]

    hit = first()
    assert set(hit["parts"]) == {"dense", "lexical", "rerank", "feedback"}
    assert set(hit["signals"]) == {*hit["parts"], "gap"}
    assert hit["score"] == pytest.approx(sum(hit["parts"].values()))
    weighted = first("--weights", "rerank=0,feedback=0,trust=2")
    assert set(weighted["parts"]) == {"dense", "lexical", "trust"}
    assert weighted["parts"]["trust"] == 2.0
    assert first("--category", "post")["parts"]["category"] == pytest.approx(-0.5)
    assert set(first("--mode", "lexical")["parts"]) == {"lexical"}
    shown = call("search", "payroll", "--explain", "--config", base.path).output
    assert " rerank (0." in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--weights", "rerank"), "expected SIGNAL=NUMBER"),
        (("--weights", "magic=1"), "expected numbers from -10 to 10 for any of dense, lexical"),
        (("--weights", "dense=11"), "expected numbers from -10 to 10"),
        (("--mode", "magic"), "mode: expected hybrid, dense or lexical"),
    ],
)
def test_search_options_that_cannot_be_used(
    base: SmallBase, options: tuple[str, ...], message: str
) -> None:
    result = call("search", "payroll", "--config", base.path, *options)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_ask_cites_what_it_says(base: SmallBase) -> None:
    answer = reply("ask", "Which desk gets rule 2 payroll requests?", "--config", base.path)
    assert answer["index_version"] == 1
    assert answer["citations"]
    for citation in answer["citations"]:
        path = Path(citation["uri"].removeprefix("file://"))
        assert citation["quote"] in " ".join(path.read_text().split())
        assert f"[{citation['number']}]" in answer["text"]


def test_evaluate_prints_metrics_with_intervals(base: SmallBase) -> None:
    result = reply("evaluate", "--config", base.path)
    [found] = result["sets"].values()
    assert (result["index_version"], found["queries"], found["stale"]) == (1, 6, 0)
    names = {"recall@1", "recall@5", "recall@10", "hit@1", "hit@5", "mrr@10", "ndcg@10"}
    assert names <= set(found["metrics"])
    low, high = found["ci95"]["recall@5"]
    assert 0 <= low <= found["metrics"]["recall@5"] <= high <= 1
    assert {"p50", "p95"} <= set(found["latency_ms"])


def test_versions_explain_quarantine_doctor_and_reconcile(base: SmallBase) -> None:
    [row] = reply("versions", "--config", base.path)["versions"]
    assert (row["version"], row["state"], row["documents"]) == (1, "live", 6)
    assert row["metrics"]["questions"]["metrics"]["recall@5"] > 0
    found = reply("explain", "docs/payroll.md", "--config", base.path)
    assert found["state"] == "live"
    assert list(found["stages"]) == ["source", "parsing", "chunking", "embedding", "index"]
    assert all("reused" in found["stages"][s] for s in ("parsing", "chunking", "embedding"))
    assert found["chunks"][0]["start"] == 0
    assert reply("quarantine", "--config", base.path)["documents"] == []
    assert reply("doctor", "--config", base.path)["healthy"]
    assert reply("reconcile", "--config", base.path)["problems"] == []


def test_doctor_tells_of_settings_that_nobody_judged(small: SmallBase) -> None:
    small.fill(3)
    small.ask_about(list(SUBJECTS[:3]), **{"recall@5": 0.5})
    assert reply("refresh", "--config", small.path)["promoted"]
    assert reply("doctor", "--config", small.path)["healthy"]
    small.configure(retrieval={"mode": "lexical"})
    found = reply("doctor", "--config", small.path, status=1)
    [said] = [check["summary"] for check in found["checks"] if not check["ok"]]
    assert "version 1 is served, but was not judged with the retrieval settings" in said
    reply("refresh", "--config", small.path)
    assert reply("doctor", "--config", small.path)["healthy"]


def test_init_makes_a_knowledge_base_that_works(tmp_path: Path) -> None:
    outside = call("init", tmp_path / "new", "--config", tmp_path / "kb.yaml")
    assert outside.exit_code == 2
    assert "kb.yaml: expected a name, such as kb.yaml" in outside.stderr
    config = tmp_path / "new" / "kb.yaml"
    made = reply("init", tmp_path / "new", "--config", config)
    assert "kb.yaml" in made["files"]
    assert reply("refresh", "--config", config)["promoted"]
    answer = reply("ask", "How do I add a document?", "--config", config)
    assert any("adding-documents" in c["uri"] for c in answer["citations"])
    again = call("init", tmp_path / "new")
    assert again.exit_code == 2
    assert "is not empty" in again.stderr


def test_rollback_returns_to_the_version_before(small: SmallBase) -> None:
    small.fill(3)
    assert reply("refresh", "--config", small.path)["version"] == 1
    assert call("rollback", "--config", small.path).exit_code == 1
    small.write("new.md", document("new"))
    assert reply("refresh", "--config", small.path)["version"] == 2
    assert reply("rollback", "--config", small.path) == {"live_version": 1, "previous": 2}
    assert reply("search", "new", "--config", small.path)["index_version"] == 1
    assert reply("search", "new", "--version", 2, "--config", small.path)["index_version"] == 2


def test_exit_3_when_the_gate_refuses_and_4_when_a_guard_holds(small: SmallBase) -> None:
    small.fill(6)
    small.ask_about(list(SUBJECTS[:6]), **{"hit@1": 0.99, "min_queries": 3})
    reply("refresh", "--config", small.path)
    for subject in SUBJECTS[:6]:
        small.write(f"{subject}.md", "# Moved\n\nThis page has moved.\n")
    receipt = reply("refresh", "--config", small.path, status=3)
    assert (receipt["live_version"], receipt["gate"]["passed"]) == (1, False)
    small.fill(6)
    reply("refresh", "--config", small.path)
    for subject in SUBJECTS[:3]:
        (small.documents / f"{subject}.md").unlink()
    receipt = reply("refresh", "--config", small.path, status=4)
    assert receipt["documents"]["held"] == 3
    small.ask_about(list(SUBJECTS[3:6]), **{"hit@1": 0.9, "min_queries": 3})
    receipt = reply("refresh", "--confirm-deletes", "--config", small.path)
    assert (receipt["promoted"], receipt["documents"]["deleted"]) == (True, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["refresh", "--source", "nope"], "no source named 'nope'; there are: docs"),
        (["search", "x", "--where", "{"], "--where: not JSON"),
        (["search", "x", "--where", "[1]"], "expected a JSON object"),
        (["search", "x", "--where", '{"a": {"$like": 1}}'], "$like"),
        (["explain", "docs/none.md"], "no document of this uri or id"),
        (["evaluate", "--set", "/nowhere.jsonl"], "no such file or folder"),
        (["search"], "Missing argument"),
        (["search", "x", "-k", "0"], "Invalid value"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_2(base: SmallBase, words, said) -> None:
    result = call(*words, "--config", base.path)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_a_missing_configuration_and_a_wrong_one(tmp_path: Path) -> None:
    missing = call("refresh", "--config", tmp_path / "no.yaml")
    assert missing.exit_code == 2
    assert "rag-assets init" in missing.stderr
    (tmp_path / "bad.yaml").write_text("name: x\nsources: []\ncolour: red\n")
    wrong = call("refresh", "--config", tmp_path / "bad.yaml", "--json")
    assert wrong.exit_code == 2
    assert "colour: unknown key" in json.loads(wrong.stdout)["error"]["message"]


def test_no_index_yet_says_what_to_do(small: SmallBase) -> None:
    small.fill(1)
    result = call("search", "x", "--config", small.path)
    assert result.exit_code == 1
    assert "rag-assets refresh" in result.stderr


def test_storage_that_cannot_be_written_is_one_clear_line(small: SmallBase) -> None:
    small.fill(1)
    (small.root / "store").write_text("a file where a directory should be")
    result = call("refresh", "--config", small.path)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert str(small.root / "store") in result.stderr


def test_odd_documents_lose_nothing(small: SmallBase) -> None:
    small.write(
        "tokens.md", "# Tokens\n\nThe marker <|endoftext|> ends a text; [CLS] starts one.\n"
    )
    small.write("cjk.md", "# 休暇\n\n有給休暇は年に二十日あります。申請は二週間前までに。\n")
    small.write("emoji.md", "# Party 🎉\n\nThe summer party 🎈 is on the last Friday of June.\n")
    (small.documents / "latin.txt").write_bytes(
        "Die Küche öffnet um sieben Uhr früh.".encode("latin-1")
    )
    (small.documents / "nul.txt").write_bytes(b"before\x00after the null byte there is text\n")
    (small.documents / "long.txt").write_text("x" * 300_000 + "\nthe end of the long line\n")
    (small.documents / "empty.txt").write_text("")
    (small.documents / "image.md").write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(4000))
    receipt = reply("refresh", "--config", small.path)
    counted = receipt["documents"]
    assert (counted["listed"], counted["added"] + counted["quarantined"]) == (8, 8)
    reasons = {d["doc_id"]: d["problem"].split(":")[0] for d in receipt["quarantined"]}
    assert reasons["docs/empty.txt"] == "empty"
    assert "docs/image.md" in reasons
    for query, doc_id in (
        ("what does <|endoftext|> mark", "docs/tokens.md"),
        ("有給休暇", "docs/cjk.md"),
        ("summer party 🎉", "docs/emoji.md"),
        ("Küche", "docs/latin.txt"),
    ):
        hits = reply("search", query, "--config", small.path)["hits"]
        assert doc_id in {hit["doc_id"] for hit in hits}
        assert not any("\ufffd" in hit["text"] for hit in hits)


def test_help_lists_every_command_under_a_heading() -> None:
    found = CliRunner().invoke(application.app, ["--help"])
    assert found.exit_code == 0
    assert "Commands" not in found.output  # where a command without a heading would stand
    assert found.output.index(" init ") < found.output.index(" ask ") < found.output.index(" keys ")
