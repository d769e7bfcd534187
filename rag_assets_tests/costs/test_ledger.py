"""The ledger, budgets and forecasts, on exact figures."""

import json
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from rag_assets.config import CostsConfig
from rag_assets.costs.budget import Budget
from rag_assets.costs.forecast import forecast
from rag_assets.costs.ledger import Entry, Ledger
from rag_assets.costs.report import costs_of


def entry(at: str = "2026-11-03T10:00:00+00:00", usd: float = 0.5, who: str = "docs") -> Entry:
    return Entry(at, "embedding", "openai/x", who, calls=2, tokens=100, usd=usd)


def test_entries_add_up_by_day_and_month(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for at in ("2026-10-31T23:59:59+00:00", "2026-11-01T00:00:00+00:00", "2026-11-01T09:00:00"):
        ledger.add(entry(at))
    ledger.add(Entry("2026-11-02", "answer", "m", "key-1", tokens=7, completion_tokens=3, usd=0.25))
    assert ledger.months() == ["2026-10", "2026-11"]
    assert (ledger.spent("2026-10"), ledger.spent("2026-11"), ledger.spent("2026-12")) == (
        0.5,
        1.25,
        0.0,
    )
    report = costs_of(CostsConfig(), ledger, now=datetime(2026, 11, 5, tzinfo=UTC))
    assert report["by_source"]["docs"]["calls"] == 4
    assert report["by_key"]["key-1"]["completion_tokens"] == 3
    assert report["by_day"]["2026-11-01"]["usd"] == 1.0
    assert report["total"]["usd"] == 1.25
    assert report["forecast"]["days"] == 5


def test_a_reader_sees_what_others_append_and_torn_or_foreign_lines_do_not_hurt(
    tmp_path: Path,
) -> None:
    reader, writer = Ledger(tmp_path), Ledger(tmp_path)
    threads = [
        threading.Thread(target=lambda: [writer.add(entry()) for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reader.spent("2026-11") == 100.0
    with (tmp_path / "costs" / "2026-11.jsonl").open("a") as stream:
        stream.write('not json\n{"at": "2026-11-03"}\n')
        whole = {"at": "2026-11-03", "kind": "answer", "model": "m", "who": "w", "usd": 1.0}
        for wrong in ({"at": 3}, {"at": "today"}, {"usd": "a"}, {"who": ["w"]}, {"new": 1}):
            stream.write(json.dumps(whole | wrong) + "\n")
        stream.write('{"at": "2026-11-')
    assert reader.spent("2026-11") == 100.0
    with (tmp_path / "costs" / "2026-11.jsonl").open("a") as stream:
        stream.write("\n")
    writer.add(entry())
    assert reader.spent("2026-11") == 100.5


def test_rolling_up_keeps_every_sum(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for day in (1, 1, 1, 2):
        ledger.add(entry(f"2026-10-0{day}T10:00:00+00:00"))
    before = ledger.days("2026-10")
    ledger.roll_up("2026-10")
    assert len((tmp_path / "costs" / "2026-10.jsonl").read_text().splitlines()) == 2
    after = Ledger(tmp_path).days("2026-10")
    assert [(e.day, e.calls, e.tokens, e.usd) for e in after] == [
        (e.day, e.calls, e.tokens, e.usd) for e in before
    ]
    assert [e.calls for e in after] == [6, 2]
    assert ledger.days("2026-10") == after, "an open reader notices the new file"


def test_a_ledger_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "costs").write_text("in the way")
    Ledger(tmp_path).add(entry())
    assert Ledger(tmp_path).months() == []


def test_a_budget_warns_at_its_share_and_refuses_what_would_pass_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    budget = Budget(CostsConfig(budget_usd=2.0), ledger, lambda: datetime(2026, 11, 9, tzinfo=UTC))
    assert (budget.standing().level, budget.refusal(2.0)) == (None, None)
    for expected in (None, None, None, "warn"):
        ledger.add(entry(usd=0.4))
        assert budget.standing().level == expected
    assert budget.refusal(0.3) is None
    assert "$1.6000 of 2026-11 is spent" in (budget.refusal(0.5) or "")
    ledger.add(entry(usd=0.4))
    assert (budget.standing().level, budget.standing().left) == ("spent", 0.0)
    assert budget.refusal(0.0) is None, "what costs nothing goes on"
    ledger.add(entry("2026-12-01T00:00:00+00:00", usd=50.0))
    assert budget.standing().spent == pytest.approx(2.0)
    december = Budget(
        CostsConfig(budget_usd=2.0), ledger, lambda: datetime(2026, 12, 1, tzinfo=UTC)
    )
    assert december.standing().level == "spent"
    assert Budget(CostsConfig(), ledger).refusal(1e9) is None


def history(costs: list[float], today: date) -> list[Entry]:
    """The last of `costs` is yesterday's."""
    first = today - timedelta(len(costs))
    return [entry((first + timedelta(n)).isoformat(), usd) for n, usd in enumerate(costs) if usd]


def test_a_straight_line_is_continued_exactly() -> None:
    today = date(2026, 11, 21)
    found = forecast(history([float(n) for n in range(1, 21)], today), today)
    assert found is not None
    assert found.usd == pytest.approx(sum(range(1, 31)))
    assert (found.low, found.high) == pytest.approx((found.usd, found.usd))
    assert (found.confidence, found.days) == ("high", 20)


def test_the_same_every_day_is_certain_and_noise_is_not() -> None:
    today = date(2026, 11, 16)
    same = forecast(history([2.0] * 15, today), today)
    assert same is not None
    assert (same.usd, same.confidence) == (pytest.approx(60.0), "high")
    noisy = forecast(history([0.0, 4.0] * 7 + [0.5], today), today)
    assert noisy is not None
    assert noisy.confidence == "low"
    assert noisy.low < noisy.usd < noisy.high


def test_days_without_costs_count_as_nothing_and_today_is_a_floor() -> None:
    today = date(2026, 11, 30)
    found = forecast([entry("2026-11-20", 10.0), entry("2026-11-30", 3.0)], today)
    assert found is not None
    assert found.days == 10
    assert found.usd >= 13.0
    assert found.low >= 13.0
    assert forecast([entry("2026-11-28", 1.0)], today) is None, "two days are no history"
    assert forecast([], today) is None


def test_the_interval_holds_what_it_promises() -> None:
    """95 % intervals of a sum of ten noisy days hold it in about 95 of 100 worlds."""
    rng = np.random.default_rng(7)
    today = date(2026, 11, 21)
    inside = 0
    for _ in range(400):
        costs = 5 + 0.1 * np.arange(30) + rng.normal(0, 0.5, 30)
        found = forecast(history(costs[:20].tolist(), today), today)
        assert found is not None
        inside += found.low <= costs.sum() <= found.high
    assert 0.92 <= inside / 400 <= 0.98
