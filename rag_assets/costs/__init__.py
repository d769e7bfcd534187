"""What is paid: a ledger of every call of a model, budgets that stop before spending, forecasts."""

from rag_assets.costs.budget import Budget
from rag_assets.costs.ledger import Entry, Ledger, charged_to, spent_here
from rag_assets.costs.purse import Purse

__all__ = ["Budget", "Entry", "Ledger", "Purse", "charged_to", "spent_here"]
