"""Text → chunks: pieces that fit the embedding model, with spans, heading paths and pages."""

from rag_assets.chunking.base import Chunk
from rag_assets.chunking.split import chunk

__all__ = ["Chunk", "chunk"]
