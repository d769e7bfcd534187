import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_assets.answering.calibration import (
    Learnt,
    Sample,
    at_share,
    auroc,
    calibration_error,
    learn,
    load,
    path_of,
    save,
)
from rag_assets.answering.confidence import SIGNALS, UNCALIBRATED


def sample(number, near, right, known=True, support=1.0):
    signals = {**dict.fromkeys(SIGNALS, 0.0), "nearest": near, "support": support}
    return Sample(f"query {number}", signals, right, known)


def samples(count=400, seed=3):
    """Right with a probability of 1 / (1 + exp(4 - 8 nearest)), and nothing else counts."""
    random = np.random.default_rng(seed)
    near = random.uniform(0, 1, count)
    right = random.uniform(0, 1, count) < 1 / (1 + np.exp(4 - 8 * near))
    return [
        sample(n, float(x), bool(y), bool(y))
        for n, (x, y) in enumerate(zip(near, right, strict=True))
    ]


def test_probabilities_that_are_there_are_found():
    found = at_share(learn(samples(4000)), 0.95)
    assert found.learnt
    for near in (0.2, 0.5, 0.8):
        signals = {**dict.fromkeys(SIGNALS, 0.0), "nearest": near, "support": 1.0}
        true = 1 / (1 + np.exp(4 - 8 * near))
        assert found.confidence(signals) == pytest.approx(true, abs=0.05)
    assert found.figures["calibration_error"] < 0.08
    assert found.figures["auroc_right"] > 0.85
    assert found.figures["abstained_right"] == pytest.approx(0.05, abs=0.01)
    assert found.figures["abstained_unknown"] > 0.3


def test_what_cannot_be_told_is_not_said_to_be_told():
    random = np.random.default_rng(5)
    guessing = [
        sample(n, float(random.uniform()), bool(random.uniform() < 0.5)) for n in range(400)
    ]
    found = at_share(learn(guessing), 0.9)
    assert found.figures["auroc_right"] == pytest.approx(0.5, abs=0.08)
    # Nothing is withheld for a confidence that means nothing; the built-in rule stays.
    assert (found.abstain_below, found.judges) == (0.0, False)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95, 1.0])
def test_so_many_right_answers_are_kept(share):
    taught = learn(samples(100))
    found = at_share(taught, share)
    right = [one.confidence for one in taught.held_out if one.right]
    kept = sum(confidence >= found.abstain_below for confidence in right) / len(right)
    assert share <= kept < share + 2 / len(right) + 1e-9
    assert found.figures["abstained_right"] == pytest.approx(1 - kept)
    assert found.judges == (share < 1)


def test_too_few_samples_teach_nothing():
    assert learn(samples(30)) is None
    assert learn([sample(n, 0.5, right=True) for n in range(100)]) is None


def test_an_answer_that_says_nothing_has_no_confidence():
    found = learn([*samples(), sample(401, 0.9, right=False, support=0.0)])
    assert found.confidence({**dict.fromkeys(SIGNALS, 1.0), "support": 0.0}) == 0.0


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=30))
def test_auroc_is_the_share_of_pairs_in_order(rows):
    scores = np.array([score / 4 for score, _ in rows])
    positive = np.array([label for _, label in rows], bool)
    pairs = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    expected = None if not pairs else pytest.approx(sum(pairs) / len(pairs))
    assert auroc(scores, positive) == expected


def test_calibration_error_is_the_distance_from_the_diagonal():
    scores = np.array([0.95] * 10 + [0.05] * 10)
    right = np.array([True] * 8 + [False] * 12)
    assert calibration_error(scores, right) == pytest.approx((0.15 + 0.05) / 2)


def test_what_was_learnt_is_kept_until_it_does_not_hold(tmp_path):
    assert load(tmp_path) is None
    learnt = Learnt(learn(samples()), "key", "recipe", 7, 1000)
    save(tmp_path, learnt)
    assert load(tmp_path) == learnt
    assert learnt.fits("recipe", 900)
    assert not learnt.fits("recipe", 2000)
    assert not learnt.fits("another", 1000)
    path_of(tmp_path).write_text(path_of(tmp_path).read_text().replace("mentioned", "renamed"))
    assert load(tmp_path) is None
    path_of(tmp_path).write_text("{")
    assert load(tmp_path) is None


def test_without_an_eval_set_nothing_is_withheld():
    assert not UNCALIBRATED.learnt
    assert UNCALIBRATED.abstain_below == 0.0
