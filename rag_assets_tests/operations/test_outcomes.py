"""How refreshes end, read from their receipts."""

import pytest

from rag_assets.operations.outcomes import Outcome, held, outcome

PASSED = {"name": "completeness", "passed": True, "details": {}}
REFUSED = {"name": "retrieval_quality", "passed": False, "details": {}}
GUARDED = {
    "name": "quarantine_rate",
    "passed": False,
    "details": {"why_held": {"docs": "30 % is in quarantine"}},
}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"promoted": True}, Outcome.PROMOTED),
        ({"promoted": False}, Outcome.UNCHANGED),
        ({"promoted": True, "held": {"docs": "3 of 4 are gone"}}, Outcome.HELD),
        ({"promoted": True, "errors": {"wiki": "503"}}, Outcome.SOURCE_FAILED),
        ({"promoted": True, "verdict": {"completeness": PASSED}}, Outcome.PROMOTED),
        ({"verdict": {"retrieval_quality": REFUSED}}, Outcome.REFUSED),
        ({"verdict": {"quarantine_rate": GUARDED}}, Outcome.HELD),
        (
            {"verdict": {"quarantine_rate": GUARDED, "retrieval_quality": REFUSED}},
            Outcome.REFUSED,
        ),
        ({"failure": "disk full", "promoted": True}, Outcome.FAILED),
        ({"verdict": {"completeness": PASSED}}, Outcome.INCOMPLETE),
        ({}, Outcome.INCOMPLETE),
    ],
)
def test_the_gravest_thing_counts(parts: dict, expected: Outcome) -> None:
    assert outcome(parts) is expected


def test_guards_are_told_together() -> None:
    parts = {"held": {"wiki": "gone"}, "verdict": {"quarantine_rate": GUARDED}}
    assert held(parts) == {"wiki": "gone", "docs": "30 % is in quarantine"}
    passed = {"verdict": {"quarantine_rate": {**GUARDED, "passed": True}}}
    assert held(passed) == {}
