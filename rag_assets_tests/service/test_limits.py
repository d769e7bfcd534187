import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from rag_assets.config import LimitsConfig
from rag_assets.errors import StorageError
from rag_assets.service.errors import Refused
from rag_assets.service.limits import Limits
from rag_assets.service.principals import LOCAL, Allowance, Principal

ADA = Principal("key:1", "ada", ())
BOB = Principal("key:2", "bob", (), allowance=Allowance(requests_per_minute=5))


async def admitted(limits: Limits, principal: Principal, times: int) -> int:
    """How many of so many requests got in; -1 when they were refused in another way."""
    for done in range(times):
        try:
            await limits.admit(principal)
        except Refused as error:
            wait = int(error.refusal.headers["Retry-After"])
            return done if error.refusal.status == 429 and 1 <= wait <= 86_400 else -1
    return times


def test_each_principal_has_its_own_rate(tmp_path: Path, counters: str) -> None:
    limits = Limits(LimitsConfig(requests_per_minute=3, storage=counters), tmp_path)

    async def counts() -> list[int]:
        return [await admitted(limits, who, 9) for who in (ADA, BOB, LOCAL)]

    assert asyncio.run(counts()) == [3, 5, 9]


def test_the_daily_quota_survives_a_restart_and_holds_for_all_workers(
    tmp_path: Path, counters: str
) -> None:
    config = LimitsConfig(requests_per_minute=None, requests_per_day=5, storage=counters)

    async def counts() -> list[int]:
        first, second = Limits(config, tmp_path), Limits(config, tmp_path)
        found = [await admitted(first, ADA, 3), await admitted(second, ADA, 9)]
        first.close()
        return [*found, await admitted(Limits(config, tmp_path), ADA, 9)]

    assert asyncio.run(counts()) == [3, 2, 0]


def test_a_spent_budget_refuses_until_tomorrow(tmp_path: Path, counters: str) -> None:
    limits = Limits(LimitsConfig(usd_per_day=0.01, storage=counters), tmp_path)

    async def spend() -> Refused:
        await limits.admit(ADA)
        await limits.spend(ADA, 0.009)
        await limits.admit(ADA)
        await limits.spend(ADA, 0.002)
        with pytest.raises(Refused) as caught:
            await limits.admit(ADA)
        await limits.admit(BOB)
        return caught.value

    refusal = asyncio.run(spend()).refusal
    assert "the daily budget of this key is used up (0.01 US dollars)" in refusal.message
    left = 86_400 - time.time() % 86_400
    assert abs(int(refusal.headers["Retry-After"]) - left) < 60


def test_nothing_is_limited_where_nothing_is_set(tmp_path: Path) -> None:
    limits = Limits(LimitsConfig(requests_per_minute=None), tmp_path)
    assert asyncio.run(admitted(limits, ADA, 50)) == 50


def test_counting_that_fails_lets_nobody_in(tmp_path: Path) -> None:
    limits = Limits(LimitsConfig(), tmp_path)
    with sqlite3.connect(tmp_path / "service/limits.sqlite3") as other:
        other.execute("DROP TABLE counters")
    with pytest.raises(StorageError, match=r"limits\.sqlite3: requests cannot be counted"):
        asyncio.run(limits.admit(ADA))


def test_an_unreachable_redis_lets_nobody_in(tmp_path: Path) -> None:
    limits = Limits(LimitsConfig(storage="redis://127.0.0.1:9"), tmp_path)
    with pytest.raises(StorageError, match="the Redis of service"):
        asyncio.run(limits.admit(ADA))
    assert not asyncio.run(limits.check())
