"""The language model's part in a search: grading passages and rewriting questions."""

from dataclasses import replace

from rag_assets.answering.prompt import Prompt
from rag_assets.config import KnowledgeBaseConfig, LlmRerank
from rag_assets.costs import Purse
from rag_assets.retrieval.aids import Aids
from rag_assets.retrieval.rerank import Complete, open_reranker
from rag_assets.retrieval.wording import rewriter


def open_aids(config: KnowledgeBaseConfig, purse: Purse | None = None) -> Aids:
    """The reranker and rewriter that a knowledge base is configured with; nothing is called yet."""
    rerank, rewrites = config.retrieval.rerank, config.retrieval.rewrites
    grade = _complete(config, rerank.model, purse) if isinstance(rerank, LlmRerank) else None
    aids = Aids(open_reranker(rerank, grade))
    if rewrites is None:
        return aids
    reword = rewriter(_complete(config, rewrites.model, purse), rewrites.count)
    return replace(aids, rewrite=reword)


def _complete(config: KnowledgeBaseConfig, model: str, purse: Purse | None) -> Complete:
    from rag_assets.answering.llm import LanguageModel

    language_model = LanguageModel(config.llm, model or None, purse)

    def complete(prompt: str) -> str:
        return language_model.complete(Prompt([{"role": "user", "content": prompt}])).text

    return complete
