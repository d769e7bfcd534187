"""The token vectors of a version's chunks: kept once in the embedding store, found by chunk id."""

import logging
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from rag_assets.embedding.tokens import TokenStore
from rag_assets.errors import StorageError
from rag_assets.index.base import Manifest
from rag_assets.index.build import MANIFEST_TABLE

_log = logging.getLogger(__name__)


class TokenVectors:
    """Token matrices by chunk id; safe to use from any thread.

    They are not part of the version's directory: 15 kB a chunk would be copied with every refresh.
    A matrix that is not there, because rerank was off or another machine holds it, is None.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self._directory = directory
        embeddings = directory.parents[1] / "embeddings"
        self._store_directory = embeddings / manifest.model / manifest.model
        self._closing = threading.Lock()

    def get(self, chunk_ids: Sequence[str]) -> list[np.ndarray | None]:
        """The matrix int8 (tokens, dimension) of each chunk, or None."""
        store = self._store
        if store is None:
            return [None] * len(chunk_ids)
        try:
            return store.get([self._text_keys[chunk_id] for chunk_id in chunk_ids])
        except StorageError as error:  # a search without the rerank is better than none
            _log.warning("%s; passages are ranked without token vectors", error)
            return [None] * len(chunk_ids)

    @property
    def available(self) -> bool:
        """Whether token vectors are kept at all."""
        return self._store is not None

    def warm(self) -> None:
        """Load what the first query would have to wait for."""
        if self._store is not None:
            _ = self._text_keys

    def close(self) -> None:
        """Close the store, if it was opened."""
        with self._closing:
            store = self.__dict__.get("_store")
            if store is not None:
                store.close()

    @cached_property
    def _store(self) -> TokenStore | None:
        return TokenStore.find(self._store_directory)

    @cached_property
    def _text_keys(self) -> dict[str, str]:
        table = self._directory / MANIFEST_TABLE
        return dict(pl.read_parquet(table, columns=["chunk_id", "text_key"]).iter_rows())
