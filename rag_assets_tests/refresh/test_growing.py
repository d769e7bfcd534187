"""Candidates from a real knowledge base, its query log and a real model server."""

import json
import os
import pty
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rag_assets.cli import evalset_commands  # noqa: F401
from rag_assets.cli.app import app
from rag_assets.evaluation.eval_set import load_eval_set
from rag_assets.evaluation.queue import Queue
from rag_assets_tests.answering.llm_server import llm_server
from rag_assets_tests.conftest import SmallBase


@pytest.fixture
def base(small: SmallBase) -> SmallBase:
    small.fill(4)
    small.write(
        "rules, old and new.md", "# Rules\n\nHow the kitchen is left behind in the evening.\n"
    )
    small.ask_about(["vacation"], **{"hit@1": 0.1, "min_queries": 1})
    assert small.refresh()["promoted"]
    return small


def run(base: SmallBase, *arguments: str) -> dict:
    found = CliRunner().invoke(app, ["evalset", *arguments, "--config", str(base.path), "--json"])
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def log(base: SmallBase, *questions: tuple[str, float]) -> None:
    folder = base.root / "store" / "service" / "audit"
    folder.mkdir(parents=True)
    rows = [
        {
            "at": "2026-11-20T10:00:00+00:00",
            "knowledge_base": "small",
            "question": question,
            "chunk_ids": ["c"],
            "verdicts": {"confidence": confidence, "abstained": False},
        }
        for question, confidence in questions
    ]
    (folder / "2026-11-20.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_from_the_log_and_chunks_to_the_eval_set(base: SmallBase) -> None:
    log(
        base,
        ("May I ask anna.smith@example.com about my payslip?", 0.2),
        ("Who answers requests concerning vacation?", 0.1),  # the eval set asks this
        ("Is there parking?", 0.9),  # went well
    )
    found = run(base, "propose", "-n", "4")["candidates"]
    assert found[0]["query"] == "May I ask [EMAIL] about my payslip?"
    assert found[0]["origin"]["why"] == "confidence 0.20"
    assert {c["origin"]["kind"] for c in found[1:]} == {"chunk"}
    # Documents that no query expects come first.
    assert found[1]["relevant"] != ["docs/vacation.md"]
    asked = {c["query"] for c in found}
    assert "Who answers requests concerning vacation?" not in asked
    again = run(base, "propose", "-n", "3")["candidates"]
    assert not asked & {c["query"] for c in again}

    first, second, third = (c["id"] for c in found[:3])
    file = Path(base.root / "questions.jsonl")
    said = ("--relevant", "docs/payroll.md", "--answer", "The payroll office.")
    run(base, "review", "--accept", first, *said)
    run(base, "review", "--accept", second, "--reject", third)
    held = load_eval_set(file).queries
    assert [dict(q.relevant) for q in held][1] == {"docs/payroll.md": 1}
    assert held[1].answer == "The payroll office."
    assert held[2].origin["candidate"] == second
    assert {c["id"] for c in run(base, "list")["candidates"]}.isdisjoint({first, second, third})
    statuses = {c.id: c.status for c in Queue(base.root / "store").all()}
    assert (statuses[first], statuses[third]) == ("accepted", "rejected")


def test_what_a_reader_judged_wrong_comes_first(base: SmallBase) -> None:
    log(base, ("Is there parking?", 0.9), ("Who cleans?", 0.2), ("Who cooks?", 0.3))
    file = base.root / "store" / "service" / "audit" / "2026-11-20.jsonl"
    asked, *others = [json.loads(line) for line in file.read_text().splitlines()]
    said = {"request_id": "r1", "rating": "down", "comment": "ask bob@example.com"}
    judged = {"request_id": "r2", "knowledge_base": "small", "feedback": said}
    fine = {"request_id": "r4", "feedback": {"request_id": "r3", "rating": "up"}}
    others[1]["request_id"] = "r3"
    rows = [{**asked, "request_id": "r1"}, *others, judged, fine]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = run(base, "propose", "-n", "3", "--from", "log")["candidates"]
    assert [c["query"] for c in found] == ["Is there parking?", "Who cleans?"]
    assert found[0]["origin"]["why"] == "a reader judged it wrong: ask [EMAIL]"


def test_review_asks_on_a_terminal(base: SmallBase) -> None:
    found = run(base, "propose", "-n", "3", "--from", "chunks")["candidates"]
    answered = CliRunner().invoke(
        app, ["evalset", "review", "--config", str(base.path)], input="u\nr\nq\n"
    )
    assert answered.exit_code == 0, answered.output
    assert found[0]["query"] in answered.output
    assert not load_eval_set(base.root / "questions.jsonl").queries[-1].answerable
    assert [c.status for c in Queue(base.root / "store").all()] == [
        "accepted",
        "rejected",
        "pending",
    ]
    assert "1 accepted, 1 rejected; 1 wait for `rag-assets evalset review`" in answered.output
    for arguments, problem in (
        (["--accept", "nothing"], "no pending candidate"),
        (["--accept", found[2]["id"], "--relevant", "docs/payrol.md"], "there is docs/payroll.md"),
        (["--json"], "--json asks nothing"),
    ):
        wrong = CliRunner().invoke(
            app, ["evalset", "review", *arguments, "--config", str(base.path)]
        )
        assert wrong.exit_code == 2
        assert problem in wrong.output


def test_a_question_is_put_in_other_words_and_documents_are_chosen_by_number(
    base: SmallBase,
) -> None:
    log(base, ("Who cooks?", 0.2), ("Wer putzt hier?", 0.1))  # the newest comes first
    found = run(base, "propose", "-n", "2", "--from", "log")["candidates"]
    assert len(found[0]["relevant"]) > 1
    typed = "x\ne\nWho cleans here?\na\n2 docs/nothing.md\ndocs/rules, old and new.md\n"  # the end
    answered = CliRunner().invoke(
        app, ["evalset", "review", "--config", str(base.path)], input=typed
    )
    assert answered.exit_code == 0, answered.output
    assert "found 'x'" in answered.output
    assert "docs/nothing.md: the live version holds no such document" in answered.output
    row = load_eval_set(base.root / "questions.jsonl").queries[-1]
    assert (row.query, list(row.relevant)) == ("Who cleans here?", ["docs/rules, old and new.md"])
    assert row.origin["drafted"] == "Wer putzt hier?"
    # It goes on where it ended, and what was put in other words does not come again.
    again = CliRunner().invoke(app, ["evalset", "review", "--config", str(base.path)], input="s\n")
    assert "1 of 1" in again.output
    assert "Who cooks?" in again.output
    assert not run(base, "propose", "-n", "2", "--from", "log")["candidates"]


def test_ctrl_c_ends_the_review_on_a_real_terminal(base: SmallBase) -> None:
    run(base, "propose", "-n", "1", "--from", "chunks")
    program = "from rag_assets.cli import main; main()"
    arguments = ["evalset", "review", "--config", str(base.path)]
    child, terminal = pty.fork()
    if not child:
        os.execv(sys.executable, [sys.executable, "-c", program, *arguments])
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        shown = b""
        while b"[q]uit" not in shown:
            shown += screen.read(4096)
        time.sleep(0.5)  # by then it waits for a key
        screen.write(b"\x03")
        while b"1 wait for" not in shown:
            shown += screen.read(4096)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_configured_model_writes_the_questions(base: SmallBase) -> None:
    with llm_server() as server:
        quote = "is answered within 2 working days"
        reply = {"question": "How soon do I hear back?", "answer": "2 days", "quote": quote}
        server.reply = json.dumps(reply)
        base.configure(llm={"model": "openai/ok", "api_base": server.url, "api_key": "k"})
        [found] = run(base, "propose", "-n", "3", "--from", "chunks")["candidates"]
        assert found["query"] == "How soon do I hear back?"
        assert found["origin"]["author"] == "openai/ok"
        assert found["passages"] == [quote]
        assert "Rule" in server.requests[0]["messages"][1]["content"]
