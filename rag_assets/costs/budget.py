"""A monthly budget: how much of it is spent, and whether a call may still be made."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from rag_assets.config import CostsConfig
from rag_assets.costs.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Standing:
    """A month so far, in US dollars. budget: None where none is set."""

    month: str
    spent: float
    budget: float | None
    warn_at: float

    @property
    def share(self) -> float:
        """Spent of the budget; above 1 it is overspent."""
        if self.budget is None:
            return 0.0
        return self.spent / self.budget if self.budget else float("inf")

    @property
    def left(self) -> float | None:
        """What may still be spent; None without a budget."""
        return None if self.budget is None else max(0.0, self.budget - self.spent)

    @property
    def level(self) -> str | None:
        """`warn` from its share on, `spent` when nothing is left, None below."""
        if self.budget is None or self.share < self.warn_at:
            return None
        return "spent" if self.share >= 1 else "warn"


class Budget:
    """The budget of one knowledge base, as its ledger stands now."""

    def __init__(
        self,
        config: CostsConfig,
        ledger: Ledger,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._clock = clock

    def standing(self) -> Standing:
        """The calendar month (UTC) so far."""
        month = self._clock().strftime("%Y-%m")
        spent = self._ledger.spent(month) if self._config.budget_usd is not None else 0.0
        return Standing(month, spent, self._config.budget_usd, self._config.warn_at)

    def refusal(self, usd: float) -> str | None:
        """Why a call that may cost so much must not be made, or None."""
        if self._config.budget_usd is None or usd <= 0:
            return None
        found = self.standing()
        if found.left is None or usd <= found.left:
            return None
        return (
            f"costs.budget_usd is ${found.budget:g} a month and ${found.spent:.4f} of {found.month}"
            f" is spent; a call that may cost ${usd:.4f} was not made. Raise the budget to go on."
        )
