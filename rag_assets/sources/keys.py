"""Keys of a listing, in order and told apart, at some tens of bytes each."""

from collections.abc import Sequence

import numpy as np
import polars as pl


class Keys:
    """Keys that come page by page; a set of Python strings takes ten times as much memory."""

    def __init__(self) -> None:
        self._pages: list[pl.Series] = []
        self._runs: list[np.ndarray] = []  # hashes, each run in order and twice the one behind it
        self._sorted: pl.Series | None = None

    def add(self, keys: Sequence[str]) -> list[bool]:
        """Take in a page; of each key whether it was there before."""
        page = pl.Series(keys, dtype=pl.String)
        hashes = page.hash().to_numpy()
        first = page.is_first_distinct().to_numpy()
        before = np.zeros(len(page), dtype=bool)
        for run in self._runs:
            places = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
            before |= run[places] == hashes
        if before.any():  # two texts may have one hash
            met = page.filter(pl.Series(before))
            known = pl.concat([old.filter(old.is_in(met.implode())) for old in self._pages])
            before = page.is_in(known.implode()).to_numpy()
        fresh = first & ~before
        self._pages.append(page.filter(pl.Series(fresh)))
        run = np.sort(hashes[fresh])
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        if len(run):
            self._runs.append(run)
        self._sorted = None
        return [bool(known) for known in ~fresh]

    def from_on(self, key: str, count: int) -> list[str]:
        """A key and those that follow it in order, at most so many; none when it is not there."""
        if self._sorted is None:
            joined = pl.concat(self._pages) if self._pages else pl.Series(dtype=pl.String)
            self._sorted = joined.sort()
            self._pages = [self._sorted]
        place = self._sorted.search_sorted(key)
        found: list[str] = self._sorted.slice(place, count).to_list()
        return found if found and found[0] == key else []
