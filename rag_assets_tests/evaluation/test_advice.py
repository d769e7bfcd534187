import pytest

from rag_assets.evaluation.advice import advice
from rag_assets.index.base import CheckOutcome


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (CheckOutcome("no_regression", True, "passed: …"), ""),
        (
            CheckOutcome("no_regression", True, "cannot tell: … needs 20", decided=False),
            "This check does not block. More queries decide it",
        ),
        (
            CheckOutcome("no_regression", True, "cannot tell: no sets", decided=False),
            "This check does not block.",
        ),
        (
            CheckOutcome("no_regression", False, "refused because …"),
            "The live version stays as it is. The losses below are the queries that fell",
        ),
        (
            CheckOutcome("retrieval_quality", False, "refused because …"),
            "The live version stays as it is. The worst queries below",
        ),
        (CheckOutcome("completeness", False, "1 chunks are not indexed"), ""),
    ],
)
def test_who_looks_at_a_check_is_told_what_to_do(outcome: CheckOutcome, said: str) -> None:
    found = advice(outcome)
    assert found.startswith(said)
    assert bool(found) == bool(said)
