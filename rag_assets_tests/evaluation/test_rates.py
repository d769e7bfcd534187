import pytest

from rag_assets.evaluation.rates import Rate


def test_p_is_the_exact_binomial_tail():
    # 0.2**2 for none of two; 1 of 3 at 0.8: 0.2**3 + 3 * 0.8 * 0.2**2.
    assert Rate(0, 2, 0.8).p == pytest.approx(0.04)
    assert Rate(1, 3, 0.8).p == pytest.approx(0.104)


@pytest.mark.parametrize(
    ("successes", "trials", "refused", "unsure"),
    [
        (0, 1, False, True),
        (0, 2, True, False),
        (1, 3, False, True),
        (4, 5, False, False),
        (10, 20, True, False),
        (20, 20, False, False),
    ],
)
def test_few_failures_are_no_refusal(successes, trials, refused, unsure):
    rate = Rate(successes, trials, 0.8)
    assert (rate.refused, rate.unsure) == (refused, unsure)


def test_what_would_be_needed():
    rate = Rate(0, 1, 0.8)
    assert rate.needed == 2
    assert Rate(0, rate.needed, 0.8).refused


def test_the_interval_holds_the_rate_and_stays_between_0_and_1():
    for successes in (0, 3, 10):
        low, high = Rate(successes, 10, 0.5).interval
        assert 0 <= low <= successes / 10 <= high <= 1
    assert Rate(5, 10, 0.5).interval == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_at_the_floor_itself_at_most_5_in_100_are_refused():
    from rag_assets.evaluation.rates import _at_most

    for trials in range(1, 60):
        refused = [k for k in range(trials + 1) if Rate(k, trials, 0.8).refused]
        assert _at_most(max(refused), trials, 0.8) <= 0.05 if refused else trials == 1
