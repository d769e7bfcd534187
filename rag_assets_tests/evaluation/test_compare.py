import pytest

from rag_assets.evaluation.compare import compare_reports, slices
from rag_assets.evaluation.eval_set import EvalQuery
from rag_assets.evaluation.report import EvalReport, QueryResult


def report(rankings, version=2):
    """Queries about docs/a, docs/b and wiki/c, tagged, with these rankings."""
    wanted = {"q1": ("docs/a", ("easy",)), "q2": ("docs/b", ("easy", "hr")), "q3": ("wiki/c", ())}
    results = []
    for name, ranking in rankings.items():
        doc_id, tags = wanted[name]
        query = EvalQuery(name, f"{name}?", {doc_id: 1}, tags=tags)
        results.append(QueryResult(query, query.relevant, tuple(ranking), (), 1.0))
    return EvalReport(version, "set", "hash", tuple(results))


OLD = report({"q1": ["docs/a"], "q2": ["x", "docs/b"], "q3": ["wiki/c", "x"]}, 1)
NEW = report({"q1": ["x", "docs/a"], "q2": ["docs/b", "x"], "q3": ["wiki/c", "y"]})


def test_wins_losses_overlap_and_slices():
    found = compare_reports(1, [NEW], [OLD])["sets"]["set"]
    assert (found["queries_compared"], found["wins"], found["losses"]) == (3, 1, 1)
    assert found["overlap@10"] == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert found["metrics"]["mrr@10"]["mean"] == 0
    assert found["tags"]["hr"] == {"queries": 1, "recall@5": 0, "mrr@10": 0.5}
    assert list(found["sources"]) == ["docs", "wiki"]
    # Equal changes: the loss comes first.
    assert [(row["id"], row["difference"]) for row in found["queries"]] == [
        ("q1", -0.5),
        ("q2", 0.5),
    ]
    assert found["queries"][0]["expected"] == ["docs/a"]
    assert found["queries"][0]["found_before"] == ["docs/a"]


def test_only_queries_that_both_judge_count():
    one = report({"q1": ["docs/a"]})
    assert compare_reports(1, [one], [OLD])["sets"]["set"]["queries_compared"] == 1
    assert compare_reports(1, [EvalReport(2, "other", "h", ())], [OLD])["sets"] == {}


def test_slices_name_the_worst_first():
    found = slices(NEW)
    assert list(found["tags"]) == ["easy", "hr"]
    assert found["tags"]["easy"] == {"queries": 2, "recall@5": 1.0, "mrr@10": 0.75}
    assert list(found["sources"]) == ["docs", "wiki"]
