import json
from dataclasses import replace

import pytest

from rag_assets.config import Gate
from rag_assets.evaluation.eval_set import EvalQuery, EvalSet
from rag_assets.evaluation.expectations import judge_expected_documents

GATE = Gate()


def asking(*expected):
    """A set with a query for each tuple of documents."""
    queries = (
        EvalQuery(f"q{number}", f"question {number}", dict.fromkeys(documents, 1))
        for number, documents in enumerate(expected)
    )
    return EvalSet("set", "hash", tuple(queries))


def holding(count, without=()):
    """doc_id to content hash."""
    return {f"docs/{n}": f"content {n}" for n in range(count) if n not in without}


def judged(count, lost, gate=GATE):
    """One query a document, the first `lost` of them gone."""
    one_each = asking(*((f"docs/{number}",) for number in range(count)))
    return judge_expected_documents(
        [one_each], holding(count), holding(count, without=range(lost)), gate
    )


@pytest.mark.parametrize(
    ("count", "lost", "passed", "decided"),
    [
        (20, 0, True, True),
        (20, 1, True, True),  # exactly at the floor
        (20, 3, True, False),  # p 0.08
        (20, 4, False, True),  # p 0.02
        (100, 5, True, True),
        (100, 20, False, True),
        (10, 5, True, False),  # too few queries to gate
    ],
)
def test_a_fifth_of_what_is_expected_may_not_vanish(count, lost, passed, decided):
    outcome = judged(count, lost)
    assert (outcome.passed, outcome.decided) == (passed, decided)
    assert outcome.value == pytest.approx(1 - lost / count)
    assert outcome.floor == 0.95


def test_a_question_that_is_repeated_counts_once():
    same = EvalQuery("q0", "Where?", {"docs/0": 1})
    one = EvalSet("set", "hash", tuple(replace(same, id=f"q{number}") for number in range(30)))
    outcome = judge_expected_documents([one], holding(20), holding(20, without=[0]), GATE)
    assert (outcome.passed, outcome.decided) == (True, False)
    assert "1 of 1 queries lost" in outcome.summary


def test_a_refusal_names_the_way_out_and_the_queries():
    outcome = judged(20, 4)
    assert outcome.summary == (
        "refused because 4 of 20 queries lost documents that they expect; 80% is left, floor 95%,"
        " p 0.016; if they are meant to be gone, run `rag-assets refresh --confirm-deletes`, or"
        " change the eval set"
    )
    assert outcome.details["queries"][0] == {
        "set": "set",
        "id": "q0",
        "query": "question 0",
        "gone": "docs/0",
    }
    json.dumps(outcome.details)


def test_undecided_says_how_many_queries_would_tell():
    assert judged(20, 3).summary == (
        "cannot tell: 3 of 20 queries lost documents that they expect; 85% is left, floor 95%;"
        " needs 21 queries"
    )
    assert judged(10, 5).summary.endswith("needs 20 queries")


def test_the_floor_is_the_configured_one():
    assert judged(20, 4, Gate(expected_documents=0.7)).passed
    assert judged(20, 20, Gate(expected_documents=0.0)).passed


def test_a_part_of_what_a_query_expects_counts_as_that_part():
    documents = [f"docs/{n}" for n in range(10)]
    sets = [asking(*[documents] * 40)]
    outcome = judge_expected_documents(sets, holding(10), holding(10, without=(3, 7)), GATE)
    assert (outcome.passed, outcome.value) == (False, pytest.approx(0.8))
    one = judge_expected_documents([asking(documents)], holding(10), holding(10, (3,)), GATE)
    assert "docs/3" in one.details["queries"][0]["gone"]


def test_what_moved_is_not_lost_and_what_was_gone_before_is_not_expected():
    sets = [asking(*((f"docs/{number}",) for number in range(20)), ("docs/long-gone",), ())]
    moved = {f"docs/new/{n}": content for n, content in enumerate(holding(20).values())}
    outcome = judge_expected_documents(sets, holding(20), moved, GATE)
    assert (outcome.passed, outcome.decided, outcome.value) == (True, True, 1.0)
    assert outcome.summary == "passed: all documents that 20 queries expect are still there"


def test_without_queries_nothing_is_asked():
    outcome = judge_expected_documents([], holding(3), {}, GATE)
    assert (outcome.passed, outcome.value) == (True, None)
    assert outcome.summary == "nothing to ask: no query expects a document that is live"
