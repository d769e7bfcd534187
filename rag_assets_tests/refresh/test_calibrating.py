import json

from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.refresh.calibrating import calibrate_if_due
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
        figures = learnt.calibration.figures
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
