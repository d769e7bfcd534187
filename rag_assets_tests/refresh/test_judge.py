"""Judging real versions: what is kept, compared and found to have drifted."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from rag_assets.cli import evaluation_commands, refresh_commands  # noqa: F401
from rag_assets.cli.app import app
from rag_assets.errors import ConfigError
from rag_assets.evaluation import evaluate
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.refresh import evidence
from rag_assets.refresh.drift import FINDINGS, find_drift
from rag_assets.refresh.judge import make_report, searched
from rag_assets.refresh.pipeline import Pipeline
from rag_assets_tests.conftest import SUBJECTS, SmallBase, document


def test_two_versions_are_compared_with_what_is_kept_and_drift_is_found(small: SmallBase) -> None:
    small.fill(8)
    small.ask_about(list(SUBJECTS[:8]), **{"hit@5": 0.5, "min_queries": 5}, answered=0.1)
    assert small.refresh()["gate"]["passed"]
    small.write("vacation.md", document("payroll"))
    small.write("payroll.md", document("vacation"))
    for number in range(3):
        small.write(f"copy-{number}.md", document("laptop").replace("step", f"stage {number}"))
    receipt = small.refresh()
    checks = {check["name"]: check for check in receipt["gate"]["checks"]}
    # Two written anew, three copies, and the one that is linked with its copies now.
    assert checks["known_items"]["summary"] == (
        "passed: 6 of 6 changed documents found by their own words"
    )

    pipeline = Pipeline(small.configure())
    assert all(result.abstained is not None for result in make_report(pipeline, 2)[0].results)
    assert all(result.abstained is None for result in searched(pipeline, 2)[0].results)
    kept = evidence.stored_comparison(pipeline.versions, 2, 1)
    [compared] = kept["sets"].values()
    assert compared["queries_compared"] == 8
    assert {row["id"] for row in compared["queries"][:2]} == {"vacation", "payroll"}
    assert compared["queries"][0]["difference"] < 0
    assert list(compared["sources"]) == ["docs"]

    # A query more: what the live version was asked before still tells of the others.
    one_more = replace(make_report(pipeline, 2)[0], content_hash="other", results=())
    asked = make_report(pipeline, 2)[0].results
    other = replace(asked[0], query=replace(asked[0].query, query="something else"))
    one_more = replace(one_more, results=(other, *asked[1:]))
    [left] = evidence.reports_like(pipeline.versions, 1, [one_more])
    assert [r.query.id for r in left.results] == [r.query.id for r in asked[1:]]
    nothing_left = replace(one_more, results=(other,))
    assert evidence.reports_like(pipeline.versions, 1, [nothing_left]) is None

    path = str(small.path)
    result = CliRunner().invoke(app, ["evaluate", "--config", path, "--compare", "1", "2"])
    assert result.exit_code == 0, result.output
    assert "index version 2" in result.stdout
    assert "against version 1 (positive: this version is better)" in result.stdout
    printed = CliRunner().invoke(
        app, ["evaluate", "--config", path, "--json", "--version", "2", "--compare", "1"]
    )
    found = json.loads(printed.stdout)["comparison"]["sets"]["questions"]
    assert found["queries"] == compared["queries"]

    findings = {name: find_drift(pipeline, 2, name) for name in FINDINGS}
    assert findings["stale_expectations"].passed
    assert findings["eval_coverage"].passed
    assert "no questions are logged" in findings["query_mix"].summary
    assert findings["embedding_shift"].summary == (
        "nothing to compare: 12 chunks came in, 32 were there"
    )
    assert findings["top_takeover"].details["documents"][0]["doc_id"].startswith("docs/")
    unchanged = find_drift(pipeline, 2, "embedding_shift", changed=False)
    assert unchanged.summary.startswith("not asked")
    (small.root / "more").mkdir()  # two sets of one name do not take each other's place
    (small.root / "more" / "questions.jsonl").write_text('{"query": "No?", "relevant": []}')
    evaluation = small.settings["evaluation"]
    evaluation["sets"] = ["questions.jsonl", "more/questions.jsonl"]
    twice = Pipeline(small.configure(evaluation=evaluation))
    judged = [(one.name, len(one.results)) for one in make_report(twice, 2)]
    assert judged == [("kb-questions", 8), ("more-questions", 1)]
    again = [(one.name, len(one.results)) for one in make_report(twice, 2)]
    assert again == judged
    evaluation["sets"] = ["questions.jsonl", "./questions.jsonl"]
    with pytest.raises(ConfigError, match=r"evaluation\.sets\.1: .*questions.jsonl is named twice"):
        small.configure(evaluation=evaluation)

    broken = find_drift(pipeline, 99, "stale_expectations")
    assert not broken.passed
    assert "index version 99 does not exist" in broken.summary


def test_a_fifth_of_what_is_asked_about_does_not_vanish_unless_somebody_says_so(
    small: SmallBase,
) -> None:
    small.fill(20, paragraphs=1)
    small.ask_about(SUBJECTS, **{"hit@5": 0.1})
    assert small.refresh()["promoted"]
    for subject in SUBJECTS[3:19:5]:  # a fifth: not more than the delete guard lets through
        (small.documents / f"{subject}.md").unlink()
    receipt = small.refresh()
    assert (receipt["held"], receipt["promoted"], receipt["live_version"]) == ({}, False, 1)
    [refused] = [check for check in receipt["gate"]["checks"] if not check["passed"]]
    assert refused["name"] == "expected_documents"
    assert refused["summary"].startswith("refused because 4 of 20 queries lost documents")
    again = small.refresh()  # it stays refused, and what else comes in waits with it
    assert not again["promoted"]

    config = str(small.path)
    accepted = CliRunner().invoke(
        app, ["refresh", "--confirm-deletes", "--config", config, "--json"]
    )
    assert accepted.exit_code == 0, accepted.output
    receipt = json.loads(accepted.stdout)
    assert receipt["promoted"]
    [check] = [c for c in receipt["gate"]["checks"] if c["name"] == "expected_documents"]
    assert check["summary"] == (
        "confirmed by hand: 4 of 20 queries lost documents that they expect; 80% is left, floor"
        " 95%, p 0.016"
    )
    quiet = small.refresh()  # said once is enough: nobody expects them of the live version now
    assert (quiet["promoted"], quiet["gate"]["passed"]) == (False, True)


def test_the_gate_sees_what_users_get_however_many_it_asks_at_once(
    small: SmallBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "_TIMED", 5)
    small.fill(12)
    small.ask_about(list(SUBJECTS), **{"hit@5": 0.1})
    assert small.refresh()["promoted"]
    config = small.configure()
    [report] = make_report(Pipeline(config), 1)
    times = [result.milliseconds for result in report.results]
    assert [time is None for time in times] == [False] * 5 + [True] * 15
    assert report.latency(50) > 0
    assert [result.query.id for result in report.results] == SUBJECTS
    with KnowledgeBase(config) as knowledge:
        for result in report.results:
            hits = knowledge.search(result.query.query, 30)
            ranked = list(dict.fromkeys(hit.doc_id for hit in hits))[:10]
            assert list(result.ranking) == ranked
            assert result.scores[0] == pytest.approx(hits[0].score, abs=1e-6)
