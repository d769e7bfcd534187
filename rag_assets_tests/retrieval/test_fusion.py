import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_assets.retrieval.fusion import reciprocal_ranks, z_scores

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
