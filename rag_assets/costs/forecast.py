"""What a month will have cost at its end: a straight line through the days of the last month."""

import calendar
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import NormalDist

import numpy as np

from rag_assets.costs.ledger import Entry

_HISTORY = 30  # days
_FEWEST = 4  # days of history; a line through three leaves one degree of freedom


@dataclass(frozen=True, slots=True)
class Forecast:
    """US dollars at the end of the month, with a 95 % prediction interval.

    r2: how much of the days' variation the line explains. confidence: `high` above 0.8, `medium`
    above 0.5, else `low`. days: of history it is made from.
    """

    usd: float
    low: float
    high: float
    r2: float
    confidence: str
    days: int


def forecast(entries: Iterable[Entry], today: date) -> Forecast | None:
    """The month of `today` at its end; None with fewer than four days of history.

    History is the 30 days before today; today itself is only half known and is forecast like the
    days to come, but never below what it has cost already.
    """
    by_day: defaultdict[date, float] = defaultdict(float)
    for entry in entries:
        by_day[date.fromisoformat(entry.day)] += entry.usd
    past = [day for day in by_day if today - timedelta(_HISTORY) <= day < today]
    if not past or (today - min(past)).days < _FEWEST:
        return None
    days = np.array([(day - today).days for day in _range(min(past), today)])
    costs = np.array([by_day[today + timedelta(int(day))] for day in days])
    last = calendar.monthrange(today.year, today.month)[1]
    coming = np.arange(0, last - today.day + 1)
    spent = sum(usd for day, usd in by_day.items() if _same_month(day, today) and day < today)
    total, half, r2 = _line(days, costs, coming)
    total = max(total, by_day[today])
    return Forecast(
        usd=spent + total,
        low=spent + max(total - half, by_day[today]),
        high=spent + total + half,
        r2=r2,
        confidence="high" if r2 > 0.8 else "medium" if r2 > 0.5 else "low",
        days=len(days),
    )


def _line(x: np.ndarray, y: np.ndarray, coming: np.ndarray) -> tuple[float, float, float]:
    """(sum over the coming days, half of its 95 % prediction interval, R²).

    x, y: (n,). Least squares; the sum's variance is that of the fit and that of the days.
    """
    design = np.stack([np.ones_like(x), x], axis=1).astype(float)
    inverse = np.linalg.inv(design.T @ design)
    slope = inverse @ design.T @ y
    residual = y - design @ slope
    freedom = len(x) - 2
    variance = float(residual @ residual) / freedom
    spread = float(((y - y.mean()) ** 2).sum())
    # The same amount every day is explained in full.
    r2 = 1.0 if spread <= 1e-18 else 1 - float(residual @ residual) / spread
    total_row = np.array([len(coming), coming.sum()], dtype=float)
    error = (variance * (len(coming) + total_row @ inverse @ total_row)) ** 0.5
    return float(max(total_row @ slope, 0.0)), _t975(freedom) * float(error), r2


def _t975(freedom: int) -> float:
    """The 97.5 % quantile of Student's t. Source: Abramowitz and Stegun, 26.7.5."""
    z, n = NormalDist().inv_cdf(0.975), float(freedom)
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )


def _range(first: date, end: date) -> list[date]:
    return [first + timedelta(n) for n in range((end - first).days)]


def _same_month(one: date, other: date) -> bool:
    return (one.year, one.month) == (other.year, other.month)
