"""Dagster assets that keep a RAG knowledge base fresh, measured and safe.

    from rag_assets import KnowledgeBase, answer, search

Importing this package loads nothing heavy: each name is fetched when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag_assets.knowledge_base import KnowledgeBase, answer, search

__all__ = ["KnowledgeBase", "__version__", "answer", "search"]

__version__: str


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("rag-assets")
    if name in __all__:
        return getattr(import_module("rag_assets.knowledge_base"), name)
    raise AttributeError(f"module 'rag_assets' has no attribute {name!r}")
