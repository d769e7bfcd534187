import json
from pathlib import Path

from rag_assets.answering.calibration import load
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.refresh.calibrating import calibrate_if_due
from rag_assets.refresh.judge import is_judged, make_report
from rag_assets.refresh.pipeline import Pipeline
from rag_assets_tests.conftest import SUBJECTS, SmallBase

QUESTION = "Who answers requests concerning payroll?"


def test_confidence_is_learnt_at_a_promotion_and_kept_while_it_holds(small: SmallBase) -> None:
    count = 20
    small.fill(count, paragraphs=1)
    small.refresh()
    with KnowledgeBase(small.configure()) as knowledge:
        assert not knowledge.answer(QUESTION).calibrated
        small.ask_about(SUBJECTS[:count], **{"recall@5": 0.1})
        rows = (small.root / "questions.jsonl").read_text()
        unknown = [
            json.dumps({"id": f"u{n}", "query": f"Who invented the {thing}?", "relevant": []})
            for n, thing in enumerate(["zeppelin", "saxophone", "kaleidoscope", "tuning fork"])
        ]
        (small.root / "questions.jsonl").write_text("\n".join([rows, *unknown]))
        small.write("another.md", "# Another\n\nSomething else altogether.\n")
        small.refresh()
        pipeline = Pipeline(small.configure())
        learnt = calibrate_if_due(pipeline, 2)
        assert learnt is not None
        assert learnt.version == 2
        figures = learnt.at(0.9).figures
        assert (figures["queries"], figures["unanswerable"]) == (24, 4)
        assert figures["samples"] == 44
        assert figures["auroc_unanswerable"] >= 0.9
        # A knowledge base that is open picks it up.
        answer = knowledge.answer(QUESTION)
        assert (answer.calibrated, answer.abstained) == (True, False)
        assert knowledge.answer("Who invented the zeppelin?").abstained
        small.write("payroll.md", "# About payroll\n\nPayroll moved to desk nine.\n")
        small.refresh()
        assert calibrate_if_due(pipeline, 3) == learnt
        assert knowledge.answer(QUESTION).calibrated


def test_the_gate_asks_the_answerer_that_users_will_get(small: SmallBase) -> None:
    count = 20
    small.fill(count, paragraphs=1)
    small.ask_about(SUBJECTS[:count], answered=0.9, abstention=0.1)
    rows = (small.root / "questions.jsonl").read_text()
    # Words that stand in every document: the plain rule answers, what was learnt does not.
    things = ("zeppelins", "saxophones", "volcanoes", "comets", "fossils", "sonnets", "glaciers")
    unknown = [
        json.dumps(
            {"id": f"u{n}", "query": f"Who answers requests concerning {thing}?", "relevant": []}
        )
        for n, thing in enumerate(things)
    ]
    (small.root / "questions.jsonl").write_text("\n".join([rows, *unknown]))
    assert small.refresh()["promoted"]
    [report] = make_report(Pipeline(small.configure()), 1)
    with KnowledgeBase(small.configure()) as knowledge:
        answers = {r.query.id: knowledge.answer(r.query.query) for r in report.results}
    assert all(answer.calibrated for answer in answers.values())
    assert {r.query.id: r.abstained for r in report.results} == {
        name: answer.abstained for name, answer in answers.items()
    }
    assert any(answer.confidence > 0 and answer.abstained for answer in answers.values())


def test_a_version_that_is_not_promoted_changes_no_answer(small: SmallBase) -> None:
    small.fill(20, paragraphs=1)
    small.ask_about(SUBJECTS, **{"hit@1": 0.1}, answered=0.1)
    assert small.refresh()["promoted"]
    before = load(small.configure().storage)
    assert before is not None
    small.ask_about([*SUBJECTS, "lift"], **{"hit@1": 1.0}, answered=0.1)  # learnt anew
    for subject in SUBJECTS[:3]:
        small.write(f"{subject}.md", "# Moved\n\nThis page has moved and holds nothing more.\n")
    assert not small.refresh()["promoted"]
    own = load(small.configure().storage, 2)
    assert own is not None
    assert own.key != before.key
    assert load(small.configure().storage) == before


def test_looking_whether_a_version_was_judged_learns_nothing(small: SmallBase) -> None:
    small.fill(20, paragraphs=1)
    small.ask_about(SUBJECTS, **{"hit@1": 0.1}, answered=0.1)
    assert small.refresh()["promoted"]
    assert is_judged(Pipeline(small.configure()), 1)
    pipeline = Pipeline(small.configure(retrieval={"mode": "lexical"}))
    index = Path(pipeline.storage) / "index"
    before = {path: path.stat().st_mtime_ns for path in index.rglob("*.json")}
    assert not is_judged(pipeline, 1)
    assert {path: path.stat().st_mtime_ns for path in index.rglob("*.json")} == before
    assert small.refresh()["gate"]["passed"]
    assert is_judged(pipeline, 1)
