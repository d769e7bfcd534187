"""Where embedding happens: in this process, or on the workers of a Ray cluster.

Engines differ in nothing else: the same texts end as the same vectors in the same store.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import services
from rag_assets.embedding.base import EmbeddingProgress, EmbeddingReport
from rag_assets.embedding.embed import embed_missing
from rag_assets.embedding.registry import open_encoder
from rag_assets.embedding.store import EmbeddingStore
from rag_assets.errors import ConfigError

OnProgress = Callable[[EmbeddingProgress], None]


class EmbeddingEngine(Protocol):
    """Brings vectors into a store."""

    def embed_missing(
        self, texts: Mapping[str, str], store: EmbeddingStore, progress: OnProgress | None = None
    ) -> EmbeddingReport:
        """Compute the vectors of the texts (by text key) that the store lacks.

        The model is loaded only when something is missing. Killed at any moment, a repeat computes
        what had not been written.
        """


class LocalEngine:
    """In this process; enough for a million chunks (docs/scale.md)."""

    def __init__(self, config: EmbeddingConfig) -> None:
        self._config = config

    def embed_missing(
        self, texts: Mapping[str, str], store: EmbeddingStore, progress: OnProgress | None = None
    ) -> EmbeddingReport:
        """See `EmbeddingEngine`."""
        if not store.missing(list(texts)):
            return EmbeddingReport(reused=len(texts), computed=0, tokens=0, usd=0.0, seconds=0.0)
        return embed_missing(texts, open_encoder(self._config), store, progress)


def open_engine(config: EmbeddingConfig) -> EmbeddingEngine:
    """The engine that `embedding.engine` names.

    Raises: ConfigError when Ray is asked for and not installed, or with a service's model.
    """
    if config.engine == "local":
        return LocalEngine(config)
    if services.is_service(config.model):
        raise ConfigError(
            f"embedding.engine: ray spreads local models over machines, {config.model!r} is a"
            " service's; set engine to local."
        )
    from rag_assets.embedding.ray_engine import RayEngine

    return RayEngine(config)
