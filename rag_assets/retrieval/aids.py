"""What a search may use beside the encoder and the index: models that cost something to open."""

from dataclasses import dataclass

from rag_assets.retrieval.rerank import Reranker
from rag_assets.retrieval.wording import Rewrite


@dataclass(frozen=True, slots=True)
class Aids:
    """reranker: a closer look at the best candidates. rewrite: the question in other words."""

    reranker: Reranker | None = None
    rewrite: Rewrite | None = None
