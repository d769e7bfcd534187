from math import log2

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import RR, P, R, Success, nDCG

from rag_assets.errors import ConfigError
from rag_assets.evaluation.metrics import metric_value, parse_metric

DOCS = [f"d{n}" for n in range(12)]
rankings = st.lists(st.sampled_from(DOCS), unique=True, max_size=12)
grades = st.dictionaries(st.sampled_from(DOCS), st.integers(1, 3), min_size=1, max_size=6)


def test_mean_reciprocal_rank_of_the_textbook_example():
    ranks = [["x"], ["a", "b", "x"], ["a", "x"]]
    mean = sum(metric_value("mrr@10", ranking, {"x": 1}) for ranking in ranks) / 3
    assert round(mean, 3) == 0.611


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("recall@1", 0.0),
        ("recall@3", 0.5),
        ("recall@5", 1.0),
        ("hit@1", 0.0),
        ("hit@2", 1.0),
        ("precision@2", 0.5),
        ("precision@10", 0.2),
        ("mrr@1", 0.0),
        ("mrr@10", 0.5),
        ("ndcg@2", (1 / log2(3)) / (3 + 1 / log2(3))),
        ("ndcg@4", (1 / log2(3) + 3 / log2(5)) / (3 + 1 / log2(3))),
    ],
)
def test_by_hand(metric, value):
    ranking = ["a", "x", "b", "y"]
    assert metric_value(metric, ranking, {"x": 1, "y": 3}) == pytest.approx(value)


def test_a_document_counts_once_however_many_of_its_chunks_are_found():
    assert metric_value("recall@2", ["x", "x", "x", "y"], {"x": 1, "y": 1}) == 1
    assert metric_value("precision@2", ["x", "x", "x"], {"x": 1}) == 0.5


@given(rankings, grades, st.integers(1, 12))
def test_agrees_with_ir_measures(ranking, relevant, k):
    qrels = [ir_measures.Qrel("q", doc_id, grade) for doc_id, grade in relevant.items()]
    run = [ir_measures.ScoredDoc("q", doc_id, -rank) for rank, doc_id in enumerate(ranking)]
    theirs = {"recall": R, "hit": Success, "precision": P, "mrr": RR, "ndcg": nDCG}
    wanted = ir_measures.calc_aggregate([m @ k for m in theirs.values()], qrels, run)
    for name, measure in theirs.items():
        assert metric_value(f"{name}@{k}", ranking, relevant) == pytest.approx(wanted[measure @ k])


@pytest.mark.parametrize("name", ["recall", "recall@0", "map@5", "mrr@x", "@5"])
def test_other_names_are_refused(name):
    with pytest.raises(ConfigError, match="no metric"):
        parse_metric(name)


def test_without_relevant_documents_there_is_no_metric():
    with pytest.raises(ValueError, match="without relevant"):
        metric_value("recall@5", ["a"], {})
