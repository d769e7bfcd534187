"""The defaults of a search."""

from typing import Annotated, Literal

from pydantic import Field

from rag_assets.config.base import Fraction, Section

Weight = Annotated[float, Field(ge=-10, le=10)]


class Weights(Section):
    """What each signal counts in the score of a hybrid search; 0 leaves it out.

    dense, lexical: the two legs. tokens: likeness of the question's words to the passage's.
    feedback: likeness to the best passages. category: match (1) or mismatch (-5) with the category
    a search names. recency: halves every `recency_half_life` days. trust: of the source.
    """

    dense: Weight = 0.5
    lexical: Weight = 0.5
    tokens: Weight = 1.0
    feedback: Weight = 1.0
    category: Weight = 0.1
    recency: Weight = 0.0
    trust: Weight = 0.0


class RetrievalConfig(Section):
    """The defaults of a search.

    fusion: how the legs' scores are made comparable. rerank: `tokens` compares the question's words
    with those of the best passages, for 12 kB of storage a chunk. recency_half_life: days.
    duplicates: cosine from which passages of different documents are shown as one; 1 shows all.
    per_document: passages of one document before others come first.
    """

    mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    k: Annotated[int, Field(ge=1, le=100)] = 5
    fusion: Literal["z-score", "rrf"] = "z-score"
    rerank: Literal["tokens", "none"] = "tokens"
    weights: Weights = Weights()
    recency_half_life: Annotated[float, Field(gt=0)] = 365.0
    duplicates: Fraction = 0.97
    per_document: Annotated[int, Field(ge=1)] = 3
