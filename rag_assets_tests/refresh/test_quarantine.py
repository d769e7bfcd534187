"""The quarantine as a table, and what holds a refresh when it grows."""

import pytest

from rag_assets.defs.execute import failure
from rag_assets.errors import Held
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.refresh.privacy import check_leaks
from rag_assets.refresh.quarantine import quarantined
from rag_assets_tests.conftest import SmallBase


@pytest.fixture
def damaged(small: SmallBase) -> SmallBase:
    """Four good documents, and then six that cannot be read."""
    small.fill(4)
    small.refresh()
    for number in range(6):
        (small.documents / f"scan{number}.pdf").write_bytes(b"%PDF-1.7 torn" + bytes([number]))
    return small


def test_a_row_says_what_why_and_how_long(damaged: SmallBase) -> None:
    damaged.refresh()
    row = quarantined(Pipeline(damaged.configure()))[0]
    assert (row["doc_id"], row["source"], row["reason"]) == ("docs/scan0.pdf", "docs", "damaged")
    assert (row["media_type"], row["size"]) == ("application/pdf", 14)
    assert row["problem"] == f"damaged: {row['message']}"
    assert row["seconds"] >= 0


def test_too_many_hold_until_they_are_accepted(damaged: SmallBase) -> None:
    receipt = damaged.refresh()
    problem = failure(receipt)
    assert isinstance(problem, Held)
    assert "6 of 10 documents cannot be processed" in str(problem)
    assert receipt["held"] == {"docs": str(problem)}
    assert receipt["live_version"] == 1
    damaged.write("new.md", "# New\n\nThis waits for a person to have a look.\n")
    assert isinstance(failure(damaged.refresh()), Held)
    receipt = damaged.refresh(accept_quarantine=True)
    assert failure(receipt) is None
    assert receipt["promoted"]
    assert failure(damaged.refresh()) is None
    (damaged.documents / "scan9.pdf").write_bytes(b"%PDF-1.7 torn as well")
    assert isinstance(failure(damaged.refresh()), Held)


def test_a_wider_guard_lets_them_through(damaged: SmallBase) -> None:
    damaged.settings["sources"][0]["quarantine_guard"] = 0.6
    receipt = damaged.refresh()
    assert failure(receipt) is None
    [check] = [c for c in receipt["gate"]["checks"] if c["name"] == "quarantine_rate"]
    assert check["summary"] == "6 of 10 documents: 6 damaged"
    assert check["value"] == pytest.approx(0.6)


def test_what_a_policy_keeps_out_holds_nothing(small: SmallBase) -> None:
    small.fill(2)
    for number in range(6):
        small.write(f"p{number}.md", f"Write to person{number}@example.org about it.\n")
    small.settings["sources"][0]["pii"] = "block"
    receipt = small.refresh()
    assert failure(receipt) is None
    assert receipt["documents"]["quarantined"] == 6


def test_a_sample_tells_of_personal_data_that_redaction_left(small: SmallBase) -> None:
    small.fill(2)
    small.write("mail.md", "# Mail\n\nWrite to someone@example.org about the mail.\n")
    small.refresh()
    pipeline = Pipeline(small.configure())
    assert check_leaks(pipeline, 1).summary == "no source redacts personal data"
    # The index of before the policy: still full of what it is to keep out.
    small.settings["sources"][0]["pii"] = "redact"
    outcome = check_leaks(Pipeline(small.configure()), 1)
    assert (outcome.passed, outcome.decided) == (True, False)
    assert "1 docs: email" in outcome.summary
    receipt = small.refresh()
    [check] = [c for c in receipt["gate"]["checks"] if c["name"] == "personal_data"]
    assert (check["passed"], check["decided"]) == (True, True)
    assert check["summary"].startswith("none in ")
