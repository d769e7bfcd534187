"""How far an answer can be relied on, from what retrieval and verification saw."""

from collections.abc import Sequence
from math import exp

from rag_assets.answering.citations import Checked
from rag_assets.index.lexical import terms
from rag_assets.retrieval.base import Hit


def confidence(question: str, hits: Sequence[Hit], checked: Checked) -> float:
    """0 to 1, from the best passage's cosine, how much of the question the quotes mention, and how
    well the quotes support the claims.
    """
    nearest = max((hit.signals.get("dense", 0.0) for hit in hits), default=0.0)
    asked = set(terms(question))
    quoted = " ".join(
        " ".join((citation.title, *citation.heading, citation.quote))
        for citation in checked.citations
    )
    mentioned = len(asked & set(terms(quoted))) / max(len(asked), 1)
    return 1 / (1 + exp(-(6 * nearest + 3 * mentioned + 1.5 * checked.support - 5.5)))
