"""What a principal may use: requests a minute and a day, and US dollars a day.

Counting is that of the `limits` library: a sliding window for the minute, whole UTC days for the
quotas. Counts are kept where all workers see them: in an SQLite file, or in Redis.
"""

import sqlite3
import time
from datetime import UTC, datetime
from math import ceil
from pathlib import Path

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter
from limits.errors import ConfigurationError
from limits.errors import StorageError as CountingError
from limits.storage import storage_from_string

from rag_assets.config import LimitsConfig
from rag_assets.errors import ConfigError, StorageError
from rag_assets.service.counters import SqliteCounters
from rag_assets.service.errors import Refused
from rag_assets.service.principals import LOCAL, Principal

_MICRO = 1_000_000  # dollars are counted in millionths
_DAY = 86_400


class Limits:
    """Counts what principals use, and refuses what is too much."""

    def __init__(self, config: LimitsConfig, storage: str | Path) -> None:
        self._config = config
        self._counters = _counters(config, storage)
        self._minute = SlidingWindowCounterRateLimiter(self._counters)
        self._day = FixedWindowRateLimiter(self._counters)

    async def admit(self, principal: Principal) -> None:
        """Count one request.

        Raises: Refused (429) with the seconds to wait, StorageError when counting fails: a limit
        that cannot be counted is not silently off.
        """
        if principal is LOCAL:
            return
        try:
            await self._admit(principal)
        except CountingError as error:
            raise self._uncountable(error) from error

    async def _admit(self, principal: Principal) -> None:
        own, common = principal.allowance, self._config
        if (count := own.requests_per_minute or common.requests_per_minute) is not None:
            rate = RateLimitItemPerMinute(count, namespace="minute")
            if not await self._minute.hit(rate, principal.id):
                wait = await self._wait(rate, principal)
                raise _refused("the rate limit", f"{count} requests a minute", wait)
        if (usd := own.usd_per_day or common.usd_per_day) is not None:
            budget = RateLimitItemPerDay(max(int(usd * _MICRO), 1), namespace="usd")
            if not await self._day.test(budget, principal.id, _today()):
                raise _refused("the daily budget", f"{usd:g} US dollars", _until_tomorrow())
        if (count := own.requests_per_day or common.requests_per_day) is not None:
            quota = RateLimitItemPerDay(count, namespace="day")
            if not await self._day.hit(quota, principal.id, _today()):
                raise _refused("the daily quota", f"{count} requests", _until_tomorrow())

    async def spend(self, principal: Principal, usd: float) -> None:
        """Count what an answer cost. Raises: StorageError."""
        allowed = principal.allowance.usd_per_day or self._config.usd_per_day
        if principal is LOCAL or allowed is None or usd <= 0:
            return
        budget = RateLimitItemPerDay(max(int(allowed * _MICRO), 1), namespace="usd")
        try:
            await self._day.hit(budget, principal.id, _today(), cost=ceil(usd * _MICRO))
        except CountingError as error:
            raise self._uncountable(error) from error

    async def check(self) -> bool:
        """Whether counting works."""
        try:
            return await self._counters.check()
        except CountingError:
            return False

    def close(self) -> None:
        """Close the counters."""
        if isinstance(self._counters, SqliteCounters):
            self._counters.close()

    async def _wait(self, rate: RateLimitItem, principal: Principal) -> float:
        window = await self._minute.get_window_stats(rate, principal.id)
        return window.reset_time - time.time()

    def _uncountable(self, error: Exception) -> StorageError:
        where = "STORAGE/service/limits.sqlite3"
        where = where if self._config.storage == "local" else "the Redis of service.limits.storage"
        return StorageError(f"{where}: requests cannot be counted, so none are let in ({error})")


def _counters(config: LimitsConfig, storage: str | Path) -> Storage:
    if config.storage == "local":
        path = Path(storage) / "service" / "limits.sqlite3"
        try:
            return SqliteCounters(path)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{path}: cannot be opened ({error})") from error
    try:
        found = storage_from_string(
            f"async+{config.storage}", implementation="redispy", wrap_exceptions=True
        )
    except ConfigurationError as error:
        raise ConfigError(
            f"service.limits.storage: redis needs the package `redis`; pip install redis ({error})"
        ) from error
    assert isinstance(found, Storage)
    return found


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _until_tomorrow() -> float:
    return _DAY - time.time() % _DAY


def _refused(what: str, allowed: str, seconds: float) -> Refused:
    wait = max(1, ceil(seconds))
    return Refused(
        429,
        f"{what} of this key is used up ({allowed}); try again in {wait} s",
        headers={"Retry-After": str(wait)},
    )
