"""The command line. `main` is the entry point of `rag-assets`."""

from rag_assets.cli.app import main

__all__ = ["main"]
