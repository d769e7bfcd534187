"""A closer look at the best candidates: token vectors, a cross-encoder or a language model."""

from functools import lru_cache

from rag_assets.config import CrossEncoderRerank, LlmRerank, Rerank, TokensRerank
from rag_assets.retrieval.rerank.base import Complete, Reranked, Reranker
from rag_assets.retrieval.rerank.cross_encoder import CrossEncoderReranker
from rag_assets.retrieval.rerank.llm import LlmReranker
from rag_assets.retrieval.rerank.tokens import TokenReranker


def open_reranker(config: Rerank, complete: Complete | None = None) -> Reranker | None:
    """The configured reranker; None where there is none, or a language model but no `complete`."""
    if isinstance(config, TokensRerank):
        return TokenReranker(config.depth)
    if isinstance(config, CrossEncoderRerank):
        return _cross_encoder(config)
    if isinstance(config, LlmRerank) and complete is not None:
        return LlmReranker(complete, config.depth)
    return None


@lru_cache(maxsize=4)
def _cross_encoder(config: CrossEncoderRerank) -> CrossEncoderReranker:
    return CrossEncoderReranker(config.model, config.depth)


__all__ = ["Complete", "Reranked", "Reranker", "TokenReranker", "open_reranker"]
