"""The defaults of a search."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from rag_assets.config.base import Fraction, Section

Weight = Annotated[float, Field(ge=-10, le=10)]


class Weights(Section):
    """What each signal counts in the score of a hybrid search; 0 leaves it out.

    dense, lexical: the two legs. rerank: what the reranker makes of the best passages. feedback:
    likeness to the best passages. category: match (1) or mismatch (-5) with the category a search
    names. recency: halves every `recency_half_life` days. trust: of the source.
    """

    dense: Weight = 0.5
    lexical: Weight = 0.5
    rerank: Weight = 1.0
    feedback: Weight = 1.0
    category: Weight = 0.1
    recency: Weight = 0.0
    trust: Weight = 0.0


class NoRerank(Section):
    """The order of the fused legs stands."""

    type: Literal["none"] = "none"


class TokensRerank(Section):
    """MaxSim over the embedding model's own token vectors, for some 15 kB of storage a chunk."""

    type: Literal["tokens"] = "tokens"
    depth: Annotated[int, Field(ge=1, le=200)] = 30


class CrossEncoderRerank(Section):
    """A local model that reads question and passage together, run by fastembed.

    model: a folder with model.onnx, tokenizer.json and tokenizer_config.json, or a name that
    fastembed knows and fetches. depth: passages it reads for a question.
    """

    type: Literal["cross-encoder"]
    model: Annotated[str, Field(min_length=1)]
    depth: Annotated[int, Field(ge=1, le=200)] = 20


class LlmRerank(Section):
    """A language model that grades passages, reached through litellm with the settings of `llm`.

    model: that of `llm` when empty. depth: passages it grades for a question, in one request.
    """

    type: Literal["llm"]
    model: str = ""
    depth: Annotated[int, Field(ge=1, le=50)] = 10


def _named(given: Any) -> Any:
    """`rerank: tokens` for `rerank: {type: tokens}`."""
    return {"type": given} if isinstance(given, str) else given


Rerank = Annotated[
    NoRerank | TokensRerank | CrossEncoderRerank | LlmRerank, Field(discriminator="type")
]


class Rewrites(Section):
    """A language model that puts a question in other words, each searched as well.

    model: that of `llm` when empty. count: wordings beside the question's own.
    """

    model: str = ""
    count: Annotated[int, Field(ge=1, le=8)] = 3


class RetrievalConfig(Section):
    """The defaults of a search.

    fusion: how the legs' scores are made comparable. category_weights: laid over `weights` where a
    search names the category. recency_half_life: days. duplicates: cosine
    from which passages of different documents are shown as one; 1 shows all. per_document: passages
    of one document before others come first. section: tokens of the section around a passage that
    is shown in its place; 0 shows the passage itself. synonyms: other words for a word or an
    acronym; a term in capitals is looked for in capitals only. rewrites: off unless given.
    """

    mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    k: Annotated[int, Field(ge=1, le=100)] = 5
    fusion: Literal["z-score", "rrf"] = "z-score"
    rerank: Annotated[Rerank, BeforeValidator(_named)] = TokensRerank()
    weights: Weights = Weights()
    category_weights: dict[str, dict[str, Weight]] = {}
    recency_half_life: Annotated[float, Field(gt=0)] = 365.0
    duplicates: Fraction = 0.97
    per_document: Annotated[int, Field(ge=1)] = 3
    section: Annotated[int, Field(ge=0, le=8192)] = 0
    synonyms: dict[str, list[str]] = {}
    rewrites: Rewrites | None = None

    @field_validator("category_weights")
    @classmethod
    def _each_is_of_signals(cls, given: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for overrides in given.values():
            Weights.model_validate(overrides)
        return given
