from datetime import UTC, datetime

import pytest

from rag_assets.cleaning import documents as stage
from rag_assets.index.live import LiveIndex
from rag_assets_tests.conftest import SmallBase, document


class Clock(datetime):
    """The time that the documents stage sees."""

    at = datetime(2026, 1, 1, tzinfo=UTC)

    @classmethod
    def now(cls, tz=None) -> datetime:
        return cls.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(stage, "datetime", Clock)
    monkeypatch.setattr(Clock, "at", datetime(2026, 1, 1, tzinfo=UTC))
    return Clock


def live_documents(base: SmallBase) -> set[str]:
    live = LiveIndex(base.configure().storage)
    with live.read() as version:
        found = set(version.document_ids())
    live.close()
    return found


def test_an_expired_document_leaves_the_index_with_the_next_sweep(
    small: SmallBase, clock: type[Clock]
) -> None:
    small.fill(3)
    small.write("offer.md", "---\nvalid_until: 2026-06-30\n---\n" + document("offer"))
    assert small.refresh()["documents"]["added"] == 4
    assert "docs/offer.md" in live_documents(small)
    clock.at = datetime(2026, 7, 1, tzinfo=UTC)
    receipt = small.refresh(full=True)
    assert "docs/offer.md" not in live_documents(small)
    assert (receipt["documents"]["quarantined"], receipt["embeddings"]["computed"]) == (1, 0)
    assert receipt["quarantined"][0]["problem"].startswith("expired: it was valid until 2026-06-30")
    # The clock goes back, or the date is extended: it returns without being parsed again.
    clock.at = datetime(2026, 1, 1, tzinfo=UTC)
    receipt = small.refresh(full=True)
    assert "docs/offer.md" in live_documents(small)
    assert receipt["embeddings"]["computed"] == 0
