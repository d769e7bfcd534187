"""Where a version's vectors live: in its own directory, on a Chroma server, or in Chroma Cloud."""

from pathlib import Path

from rag_assets.index.base import Manifest
from rag_assets.index.dense import DenseIndex
from rag_assets.index.server import ChromaServer, RemoteDense

CHROMA = "chroma"
EMBEDDED = "embedded"


def open_dense(directory: Path, manifest: Manifest) -> DenseIndex | RemoteDense:
    """The dense index of a sealed version, open for reading."""
    if manifest.home == EMBEDDED:
        return DenseIndex.open(directory / CHROMA, manifest.space)
    return ChromaServer(manifest.home, "").open(manifest.collection)
