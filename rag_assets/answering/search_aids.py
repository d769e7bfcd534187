"""The language model's part in a search: grading passages and rewriting questions."""

from rag_assets.answering.prompt import Prompt
from rag_assets.config import KnowledgeBaseConfig, LlmRerank
from rag_assets.retrieval.aids import Aids
from rag_assets.retrieval.rerank import Complete, open_reranker
from rag_assets.retrieval.wording import rewriter


def open_aids(config: KnowledgeBaseConfig) -> Aids:
    """The reranker and rewriter that a knowledge base is configured with; nothing is called yet."""
    rerank, rewrites = config.retrieval.rerank, config.retrieval.rewrites
    complete = _complete(config, rerank.model) if isinstance(rerank, LlmRerank) else None
    return Aids(
        reranker=open_reranker(rerank, complete),
        rewrite=rewriter(_complete(config, rewrites.model), rewrites.count) if rewrites else None,
    )


def _complete(config: KnowledgeBaseConfig, model: str) -> Complete:
    from rag_assets.answering.llm import LanguageModel

    language_model = LanguageModel(config.llm, model or None)

    def complete(prompt: str) -> str:
        return language_model.complete(Prompt([{"role": "user", "content": prompt}])).text

    return complete
