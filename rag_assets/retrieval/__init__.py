"""A query to ranked passages: dense and lexical candidates, filters, fusion."""

from rag_assets.retrieval.base import Hit, SearchRequest
from rag_assets.retrieval.search import search

__all__ = ["Hit", "SearchRequest", "search"]
