import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_assets.retrieval.fusion import best_first, reciprocal_ranks, weighted_sum, z_scores

scores = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2), st.integers(-50, 50), max_size=12
)


def test_z_scores_by_hand():
    assert z_scores({"a": 3.0, "b": 1.0}) == {"a": 1.0, "b": -1.0}
    assert z_scores({"a": 2.0, "b": 2.0}) == {"a": 0.0, "b": 0.0}
    assert z_scores({}) == {}


@given(scores, st.floats(0.1, 10), st.floats(-20, 20))
def test_z_scores_ignore_scale_and_offset(given_scores, scale, offset):
    moved = {name: scale * score + offset for name, score in given_scores.items()}
    assert z_scores(moved) == pytest.approx(z_scores(given_scores), abs=1e-4)


def test_reciprocal_ranks_by_hand():
    assert reciprocal_ranks([("a", 9.0), ("b", 8.0)]) == {"a": 1 / 61, "b": 1 / 62}


def test_a_candidate_that_a_leg_lacks_gets_its_lowest_value():
    signals = {"dense": {"a": 2.0, "b": -1.0}, "lexical": {"b": 4.0, "c": 0.5}}
    fused = weighted_sum(signals, {"dense": 0.5, "lexical": 0.5})
    assert fused == {"a": 1.25, "b": 1.5, "c": -0.25}


def test_equal_scores_are_ordered_by_id():
    assert best_first({"b": 1.0, "c": 2.0, "a": 1.0}) == [("c", 2.0), ("a", 1.0), ("b", 1.0)]
