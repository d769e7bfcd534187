"""Tests of rag_assets.embedding."""
