import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_assets.evaluation.significance import bootstrap_interval, p_in_words, paired_difference

scores = st.lists(st.sampled_from([0.0, 0.2, 0.5, 1.0]), min_size=1, max_size=60)


def test_equal_results_are_not_different():
    change = paired_difference([1.0, 0.5, 0.0], [1.0, 0.5, 0.0])
    assert (change.mean, change.p_worse, change.p_different) == (0, 1, 1)
    assert (change.low, change.high, change.wins, change.losses) == (0, 0, 0, 0)


def test_exact_p_values_by_hand():
    # Three losses of one size: 1 of the 8 sign patterns is as bad, 2 are as far from 0.
    change = paired_difference([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    assert change.p_worse == 1 / 8
    assert change.p_different == 2 / 8
    assert (change.mean, change.losses) == (-1, 3)


def test_sampled_p_values_agree_with_the_exact_binomial():
    # 14 losses and 6 wins of one size: P(at least 14 of 20 losses) = 0.0577.
    change = paired_difference([0.0] * 14 + [1.0] * 6, [1.0] * 14 + [0.0] * 6)
    assert change.p_worse == pytest.approx(0.0577, abs=0.01)
    assert change.p_different == pytest.approx(2 * 0.0577, abs=0.015)


@given(scores, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_swapping_the_sides_mirrors_the_change(values, random):
    other = random.sample(values, len(values))
    there, back = paired_difference(values, other), paired_difference(other, values)
    assert there.mean == pytest.approx(-back.mean)
    assert (there.wins, there.losses) == (back.losses, back.wins)
    assert there.low <= there.mean + 1e-9
    assert there.mean <= there.high + 1e-9
    assert 0 < there.p_worse <= 1


def test_the_interval_covers_the_true_mean_about_95_times_in_100():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        [[low, high]] = bootstrap_interval(rng.random((80, 1)))
        covered += low <= 0.5 <= high
    assert 0.91 <= covered / 300 <= 0.98


def test_the_interval_is_the_same_every_time():
    values = np.random.default_rng(2).random((50, 3))
    assert (bootstrap_interval(values) == bootstrap_interval(values)).all()


def test_no_p_value_is_shown_as_0():
    assert [p_in_words(p) for p in (0.0577, 0.001, 0.0001)] == ["0.058", "0.001", "below 0.001"]
