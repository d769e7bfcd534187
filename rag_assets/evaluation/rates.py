"""Is a share of successes below its floor, or too small a sample to say?"""

from dataclasses import dataclass
from math import comb, sqrt

_SIGNIFICANT = 0.05
_NORMAL_95 = 1.959964  # standard deviations of a two-sided 95 % interval
_MOST = 1000  # trials looked at when asked how many are needed


@dataclass(frozen=True, slots=True)
class Rate:
    """Successes among independent trials, held against a floor.

    p: how often chance makes at most this many successes where the floor is the true rate.
    """

    successes: int
    trials: int
    floor: float

    @property
    def value(self) -> float:
        """The share of successes."""
        return self.successes / self.trials

    @property
    def p(self) -> float:
        """Exact one-sided binomial test."""
        return _at_most(self.successes, self.trials, self.floor)

    @property
    def refused(self) -> bool:
        """Whether the rate is below the floor and chance does not explain it."""
        return self.value < self.floor and self.p <= _SIGNIFICANT

    @property
    def unsure(self) -> bool:
        """Whether the rate is below the floor, and may be so by chance."""
        return self.value < self.floor and self.p > _SIGNIFICANT

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the true rate. Source: Wilson 1927, score interval."""
        z, n, share = _NORMAL_95, self.trials, self.value
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        # The bounds meet the share itself where it is 0 or 1; rounding must not pass them.
        return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))

    @property
    def needed(self) -> int:
        """Trials from which this share would be refused; capped at 1,000."""
        share = self.value
        for trials in range(self.trials, _MOST):
            if _at_most(int(share * trials), trials, self.floor) <= _SIGNIFICANT:
                return trials
        return _MOST

    def as_json(self) -> dict[str, object]:
        """The figures for the details of a check."""
        low, high = self.interval
        return {
            "of": self.trials,
            "rate": self.value,
            "floor": self.floor,
            "low": low,
            "high": high,
            "p": self.p,
        }


def _at_most(successes: int, trials: int, rate: float) -> float:
    """The binomial probability of at most this many successes."""
    if rate <= 0:
        return 1.0
    return sum(comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(successes + 1))
