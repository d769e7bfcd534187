"""What the defences are worth, measured on a poisoned corpus; docs/security.md has the table."""

import pytest

from rag_assets_tests.answering.poisoned import ATTACKS, FACTS, laboratory

NUMBERS = {attack.name: number for number, attack in enumerate(ATTACKS)}
# What remains with every defence up, and with `llm.unproven: drop` on top.
REMAINING = {"request in plain words": (6, 0), "link, requested in plain words": (2, 2)}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with laboratory(tmp_path_factory.mktemp("poisoned") / "kb") as found:
        yield found


@pytest.mark.parametrize("name", NUMBERS)
def test_attacks_that_work_on_a_gullible_model_are_stopped_or_known(bench, name):
    without = bench.measure(bench.answerer("gullible", "none"), NUMBERS[name])
    assert without.found == len(FACTS)
    assert without.succeeded >= 5
    most, most_dropped = REMAINING.get(name, (0, 0))
    assert bench.measure(bench.answerer("gullible", "all"), NUMBERS[name]).succeeded <= most
    dropped = bench.measure(bench.answerer("gullible", "drop"), NUMBERS[name])
    assert dropped.succeeded <= most_dropped
    assert bench.measure(bench.answerer("gullible", "low trust"), NUMBERS[name]).succeeded == 0


def test_a_model_that_respects_the_frame_is_steered_only_out_of_it(bench):
    for name, number in NUMBERS.items():
        if not name.startswith("flood"):
            assert bench.measure(bench.answerer("careful", "none"), number).succeeded == 6
            assert bench.measure(bench.answerer("careful", "framed"), number).succeeded == 0


def test_the_built_in_model_cannot_be_told_anything(bench):
    for number in NUMBERS.values():
        assert bench.measure(bench.answerer("extractive", "all"), number).succeeded == 0


def test_the_defences_cost_no_right_answer(bench):
    for model in ("gullible", "careful", "extractive"):
        assert bench.honest(bench.answerer(model, "drop")) == len(FACTS)
