"""Text to vectors: the model store, encoders, and the content-addressed embedding store."""

from rag_assets.embedding.embed import embed_missing
from rag_assets.embedding.engine import open_engine
from rag_assets.embedding.registry import (
    model_facts,
    model_fingerprint,
    open_encoder,
    open_tokenizer,
    price_per_token,
    token_form,
)
from rag_assets.embedding.store import EmbeddingStore

__all__ = [
    "EmbeddingStore",
    "embed_missing",
    "model_facts",
    "model_fingerprint",
    "open_encoder",
    "open_engine",
    "open_tokenizer",
    "price_per_token",
    "token_form",
]
