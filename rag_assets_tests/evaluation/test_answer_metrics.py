import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_assets.evaluation.answer_metrics import Answered, AnswerReport, Quote, rouge_l
from rag_assets.evaluation.eval_set import EvalQuery

ASKED = EvalQuery("q1", "How long?", {"docs/a": 1}, answer="Twenty-eight days a year.")
NOTHING = EvalQuery("q2", "A gym?", {})
PASSAGE = "Staff **receive twenty-eight days** a year."


def test_rouge_by_hand():
    # The longest common subsequence is "a c d": 3 of 4 said and of 5 wanted.
    f1, recall = rouge_l("a x c d".split(), "a b c d e".split())
    assert (f1, recall) == (pytest.approx(2 * 0.75 * 0.6 / 1.35), 0.6)
    assert rouge_l([], ["a"]) == (0, 0)


words = st.lists(st.sampled_from("abc"), max_size=8)


@given(words, words)
def test_rouge_is_between_0_and_1_and_1_only_for_equals(one, other):
    f1, recall = rouge_l(one, other)
    assert 0 <= f1 <= 1
    assert 0 <= recall <= 1
    assert (f1 == 1) == (one == other != [])


def test_a_good_answer():
    text = "Twenty-eight days a year [1]."
    answer = Answered(ASKED, text, (Quote("docs/a", "receive twenty-eight days", PASSAGE),))
    assert answer.values == {
        "answered": 1,
        "citation_validity": 1,
        "quote_support": 1,
        "citation_recall": 1,
        "rouge_l": 1,
        "reference_recall": 1,
    }


def test_what_can_be_wrong_with_an_answer():
    quotes = (Quote("docs/b", "thirty days", PASSAGE), Quote("docs/b", "a year", PASSAGE))
    values = Answered(ASKED, "Nobody knows.", quotes, dropped=1).values
    assert values["citation_validity"] == 0
    assert values["quote_support"] == 0.5
    assert values["citation_recall"] == 0
    assert values["rouge_l"] == 0
    assert Answered(ASKED, "Something.").values["quote_support"] == 0


def test_silence_is_right_only_where_nothing_is_known():
    assert Answered(NOTHING, "", abstained=True).values == {"abstention": 1}
    assert Answered(NOTHING, "Yes, in hall three.").values == {"abstention": 0}
    assert Answered(ASKED, "", abstained=True).values == {"answered": 0}
    # A failure is no wise silence.
    assert Answered(NOTHING, "", abstained=True, error="LlmError: 500").values == {"abstention": 0}
    assert Answered(ASKED, "", error="LlmError: 500").values == {"answered": 0}


def test_failed_judgements_are_counted_and_never_score():
    good = Answered(ASKED, "Days.", judged={"faithfulness": 1.0})
    failed = Answered(ASKED, "Days.", judged={"faithfulness": float("nan")})
    report = AnswerReport(3, "m", (good, failed))
    row = report.metrics["faithfulness"]
    assert (row["mean"], row["of"], row["failed"]) == (1.0, 1, 1)
    only = AnswerReport(3, "m", (failed,))
    assert only.metrics["faithfulness"] == {"of": 0, "failed": 1}
    json.dumps(only.as_json(), allow_nan=False)


def test_the_worst_come_first():
    broken = Answered(ASKED, "", error="LlmError: 500")
    silent = Answered(ASKED, "", abstained=True)
    good = Answered(NOTHING, "", abstained=True)
    assert AnswerReport(1, "m", (good, silent, broken)).worst(2) == [broken, silent]
