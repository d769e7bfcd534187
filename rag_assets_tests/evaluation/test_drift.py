import json

import numpy as np
import pytest

from rag_assets.evaluation.drift import (
    embedding_shift,
    eval_coverage,
    odd_ones,
    query_mix,
    stale_expectations,
    top_takeover,
)
from rag_assets.evaluation.eval_set import EvalQuery, EvalSet
from rag_assets.evaluation.query_log import logged_questions
from rag_assets.evaluation.report import EvalReport, QueryResult


def query(number, *relevant, **more):
    return EvalQuery(f"q{number}", f"question {number}", dict.fromkeys(relevant, 1), **more)


def result(number, held=("docs/a",), missing=(), lost=(), ranking=()):
    asked = query(number, *held, *missing)
    return QueryResult(asked, dict.fromkeys(held, 1), ranking, (), 1.0, missing, lost=lost)


def report(*results):
    return EvalReport(2, "set", "hash", results)


def cloud(rng, centre, count):
    vectors = centre + 0.2 * rng.standard_normal((count, len(centre)))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_queries_whose_documents_are_gone_warn_above_5_percent():
    healthy = [result(number) for number in range(19)]
    fine = stale_expectations([report(*healthy, result(19, (), ("docs/gone",)))])
    assert (fine.passed, fine.value) == (True, 0.05)
    worse = [*healthy[:18], result(18, lost=("thirty days",)), result(19, (), ("docs/gone",))]
    outcome = stale_expectations([report(*worse)])
    assert (outcome.passed, outcome.value) == (False, 0.1)
    rows = outcome.details["queries"]
    assert [(row["id"], row["gone"], row["lost_passages"]) for row in rows] == [
        ("q19", "docs/gone", ""),
        ("q18", "", "thirty days"),
    ]


def test_a_source_that_nobody_asks_about_warns():
    asked = EvalSet("set", "h", (query(1, "docs/0"), query(2, "docs/0", "docs/1"), query(3)))
    documents = [f"docs/{n}" for n in range(10)] + [f"wiki/{n}" for n in range(20)]
    outcome = eval_coverage([asked], documents)
    assert not outcome.passed
    assert "no query asks about wiki (20 documents)" in outcome.summary
    assert outcome.details["sources"] == [
        {"source": "wiki", "documents": 20, "queries": 0, "documents_asked_about": 0},
        {"source": "docs", "documents": 10, "queries": 2, "documents_asked_about": 2},
    ]
    assert eval_coverage([asked], documents[:29]).passed


def test_about_5_in_100_of_the_same_are_odd_and_all_of_others():
    rng = np.random.default_rng(3)
    here, there = np.eye(24)[0], np.eye(24)[1]
    reference = cloud(rng, here, 400)
    assert 0.02 <= odd_ones(cloud(rng, here, 1000), reference).mean() <= 0.09
    assert odd_ones(cloud(rng, there, 100), reference).mean() > 0.95


def test_questions_unlike_the_eval_set_warn_and_are_shown():
    rng = np.random.default_rng(4)
    evals = cloud(rng, np.eye(16)[0], 100)
    asked = np.concatenate([cloud(rng, np.eye(16)[0], 60), cloud(rng, np.eye(16)[5], 40)])
    outcome = query_mix([f"question {n}" for n in range(100)], asked, evals)
    assert not outcome.passed
    assert 0.4 <= outcome.value <= 0.5
    assert {row["question"] for row in outcome.details["questions"]} <= {
        f"question {n}" for n in range(60, 100)
    }
    usual = query_mix(["?"] * 60, asked[:60], evals)
    assert usual.passed
    assert "cannot tell: 3 logged questions" in query_mix(["?"] * 3, asked[:3], evals).summary


def test_new_chunks_unlike_the_old_ones_warn():
    rng = np.random.default_rng(5)
    live = cloud(rng, np.eye(16)[0], 300)
    rows = [{"doc_id": f"docs/{n}"} for n in range(50)]
    assert embedding_shift(cloud(rng, np.eye(16)[0], 50), live, rows).passed
    moved = embedding_shift(cloud(rng, np.eye(16)[7], 50), live, rows)
    assert not moved.passed
    assert moved.value > 0.9
    assert moved.details["mean_cosine"] < 0.5
    assert len(moved.details["chunks"]) == 20
    assert embedding_shift(live[:3], live, rows).passed


def test_new_documents_in_the_top_places_of_many_queries_warn():
    poisoned = [result(n, ranking=("evil/1", "evil/2", "docs/a", "docs/b")) for n in range(5)]
    healthy = [result(n, ranking=("docs/a", "docs/b", "docs/c", "docs/d")) for n in range(5, 10)]
    outcome = top_takeover([report(*poisoned, *healthy)], ["evil/1", "evil/2"], 100)
    assert (outcome.passed, outcome.value) == (False, 0.25)
    assert outcome.details["documents"][0] == {"doc_id": "evil/1", "places": 5}
    # Where most documents are new they may well hold most places.
    assert top_takeover([report(*poisoned)], ["evil/1", "evil/2"], 4).passed
    # An expected document may come up as far as it likes.
    assert top_takeover([report(*healthy)], ["docs/a"], 100).value == 0


@pytest.fixture
def log(tmp_path):
    folder = tmp_path / "service" / "audit"
    folder.mkdir(parents=True)

    def line(question, **more):
        row = {"at": "t", "knowledge_base": "small", "question": question, "chunk_ids": ["c"]}
        return json.dumps(row | more)

    old = [line("Where do I park?"), line("Who pays?", knowledge_base="other")]
    new = [
        line("How  many days?", verdicts={"confidence": 0.9, "abstained": False}),
        json.dumps({"path": "/metrics"}),
        line("Where do I park?", chunk_ids=[]),
        line("Is there a gym?", verdicts={"confidence": 0.2, "abstained": True}),
        json.dumps({"question_sha256": "ab", "knowledge_base": "small"}),
        '{"torn',
    ]
    (folder / "2026-11-01.jsonl").write_text("\n".join(old) + "\n")
    (folder / "2026-11-02.jsonl").write_text("\n".join(new))
    return tmp_path


def test_the_log_gives_each_question_once_newest_first(log):
    found = logged_questions(log, "small")
    assert [q.text for q in found] == ["Is there a gym?", "Where do I park?", "How many days?"]
    assert [q.failed(0.5) for q in found] == [True, True, False]
    assert len(logged_questions(log, "small", 1)) == 1
    assert logged_questions(log / "nothing", "small") == []
