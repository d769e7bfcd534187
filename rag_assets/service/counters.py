"""Counters for rate limits in an SQLite file, as a storage of the `limits` library."""

import sqlite3
import time
from pathlib import Path

from limits.aio.storage import SlidingWindowCounterSupport, Storage


class SqliteCounters(Storage, SlidingWindowCounterSupport):
    """Counters in an SQLite file shared by the workers of one machine; 20 µs a count.

    Not fsynced: after a power cut some of the last seconds' requests may be forgotten.
    """

    STORAGE_SCHEME = None

    def __init__(self, path: str | Path) -> None:
        super().__init__(None, wrap_exceptions=True)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS counters"
            " (name TEXT PRIMARY KEY, count INTEGER NOT NULL, expires REAL NOT NULL) WITHOUT ROWID"
        )
        self._forget_expired()

    @property
    def base_exceptions(self) -> type[Exception]:
        """What a failing count raises."""
        return sqlite3.Error

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a counter that starts over when it has expired; returns its new value."""
        return self._add(key, amount, time.time() + expiry)

    async def get(self, key: str) -> int:
        """The value of a counter; 0 when it does not exist or has expired."""
        return self._counted(key)

    async def get_expiry(self, key: str) -> float:
        """When a counter starts over, in seconds since the epoch."""
        row = self._db.execute("SELECT expires FROM counters WHERE name = ?", (key,)).fetchone()
        return float(row[0]) if row else time.time()

    async def check(self) -> bool:
        """Whether counting works."""
        return bool(self._db.execute("SELECT 1").fetchone())

    async def reset(self) -> int | None:
        """Forget every count; returns how many there were."""
        return self._db.execute("DELETE FROM counters").rowcount

    async def clear(self, key: str) -> None:
        """Forget one count."""
        self._db.execute("DELETE FROM counters WHERE name = ?", (key,))

    async def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Count `amount` if the window has room for it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            previous, left, current, _ = self._window(key, expiry)
            if previous * left / expiry + current + amount > limit:
                return False
            window = int(time.time() // expiry)
            self._add(f"{key}/{window}", amount, (window + 2) * expiry)
            return True
        finally:
            self._db.execute("COMMIT")

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """(previous count, its seconds left, current count, its seconds left)."""
        return self._window(key, expiry)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget one window."""
        self._db.execute("DELETE FROM counters WHERE name LIKE ? || '/%'", (key,))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _forget_expired(self) -> None:
        self._db.execute("DELETE FROM counters WHERE expires < ?", (time.time(),))

    def _window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        now = time.time()
        window = int(now // expiry)
        left = (window + 1) * expiry - now
        previous = self._counted(f"{key}/{window - 1}")
        return previous, left, self._counted(f"{key}/{window}"), left + expiry

    def _counted(self, name: str) -> int:
        sql = "SELECT count FROM counters WHERE name = ? AND expires > ?"
        row = self._db.execute(sql, (name, time.time())).fetchone()
        return int(row[0]) if row else 0

    def _add(self, name: str, amount: int, expires: float) -> int:
        row = self._db.execute(
            "INSERT INTO counters VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET"
            " count = iif(expires <= ?4, 0, count) + ?2,"
            " expires = iif(expires <= ?4, ?3, expires) RETURNING count",
            (name, amount, expires, time.time()),
        ).fetchone()
        return int(row[0])
