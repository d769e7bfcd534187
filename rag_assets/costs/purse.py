"""What language models are paid from: asked before a call, told after it."""

from dataclasses import dataclass

from rag_assets.config import CostsConfig
from rag_assets.costs.budget import Budget
from rag_assets.costs.ledger import Entry, Ledger, charged_to, now


@dataclass(frozen=True)
class Purse:
    """The budget and the ledger behind every call of a language model; without them, no limit."""

    budget: Budget | None = None
    ledger: Ledger | None = None

    @classmethod
    def of(cls, config: CostsConfig, ledger: Ledger) -> "Purse":
        """The purse of a knowledge base."""
        return cls(None if config.budget_usd is None else Budget(config, ledger), ledger)

    def refusal(self, usd: float) -> str | None:
        """Why a call that may cost so much must not be made, or None."""
        return None if self.budget is None else self.budget.refusal(usd)

    def paid(self, model: str, prompt_tokens: int, completion_tokens: int, usd: float) -> None:
        """Note a call that was made, whatever became of its reply."""
        if self.ledger is not None:
            who = charged_to.get()
            self.ledger.add(
                Entry(now(), "answer", model, who, 1, prompt_tokens, completion_tokens, usd)
            )
