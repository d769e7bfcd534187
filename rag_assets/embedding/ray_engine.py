"""Embedding on Ray Data: a pool of workers, each with the model, writing to the shared store."""

import importlib.util
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding.base import EmbeddingProgress, EmbeddingReport
from rag_assets.embedding.embed import embed_missing
from rag_assets.embedding.registry import open_encoder
from rag_assets.embedding.store import EmbeddingStore
from rag_assets.errors import ConfigError, StorageError

if TYPE_CHECKING:
    import pyarrow

    from rag_assets.embedding.engine import OnProgress

# Texts of one task: what a lost worker may cost, 2 s of a core.
_TASK = 256
# Texts handed to Ray at once, as one block of its object store.
_BLOCK = 4 * _TASK


class RayEngine:
    """An `EmbeddingEngine` on Ray. The store must be on a file system that all workers share."""

    def __init__(self, config: EmbeddingConfig) -> None:
        """Raises: ConfigError when Ray is not installed."""
        if importlib.util.find_spec("ray") is None:
            raise ConfigError(
                "embedding.engine: ray asked for, but Ray is not installed; install the ray extra"
                " (pip install 'rag-assets[ray]') or set engine to local."
            )
        self._config = config

    def embed_missing(
        self,
        texts: Mapping[str, str],
        store: EmbeddingStore,
        progress: "OnProgress | None" = None,
    ) -> EmbeddingReport:
        """See `engine.EmbeddingEngine`. Raises: StorageError when workers wrote elsewhere."""
        started = time.monotonic()
        missing = store.missing(list(texts))
        done = tokens = 0
        if missing:
            with _connected(self._config.ray_address):
                for finished, sent in self._finished(missing, texts, store):
                    done, tokens = done + finished, tokens + sent
                    if progress is not None:
                        seconds = time.monotonic() - started
                        eta = seconds * (len(missing) - done) / done
                        rate = tokens / max(seconds, 1e-9)
                        progress(EmbeddingProgress(done, len(missing), tokens, rate, eta))
        lost = store.missing(missing)
        if lost:
            raise StorageError(
                f"{store.directory}: {len(lost)} of {len(missing)} vectors that Ray's workers"
                " computed are not here; `storage` must be on a file system that all workers share."
            )
        seconds = time.monotonic() - started
        return EmbeddingReport(len(texts) - len(missing), len(missing), tokens, 0.0, seconds)

    def _finished(
        self, missing: Sequence[str], texts: Mapping[str, str], store: EmbeddingStore
    ) -> Iterator[tuple[int, int]]:
        """(texts, tokens) of each task as it finishes; Ray restarts lost workers."""
        import ray

        on_gpu = self._config.device == "cuda"
        resource = "GPU" if on_gpu else "CPU"
        workers = max(1, int(ray.cluster_resources().get(resource, 1)))
        tasks = -(-len(missing) // _TASK)
        found = ray.data.from_arrow(list(_blocks(missing, texts))).map_batches(
            _Worker,
            fn_constructor_kwargs={
                "config": self._config.model_copy(update={"engine": "local", "ray_address": None}),
                "directory": str(store.directory.parent),
                "model": store.directory.name,
                "dimension": store.dimension,
            },
            batch_size=_TASK,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(workers, tasks)),
            num_cpus=0 if on_gpu else 1,
            num_gpus=1 if on_gpu else 0,
        )
        for row in found.iter_rows():
            yield int(row["texts"]), int(row["tokens"])


class _Worker:
    """One process of the pool: the model, and the store it writes to."""

    def __init__(self, config: EmbeddingConfig, directory: str, model: str, dimension: int) -> None:
        self._encoder = open_encoder(config)
        self._store = EmbeddingStore(directory, model, dimension)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Embed a task. A task that is run again finds what the first run wrote."""
        texts = dict(zip(batch["key"].tolist(), batch["text"].tolist(), strict=True))
        report = embed_missing(texts, self._encoder, self._store)
        return {"texts": np.array([len(texts)]), "tokens": np.array([report.tokens])}


def _blocks(keys: Sequence[str], texts: Mapping[str, str]) -> Iterator["pyarrow.Table"]:
    import pyarrow

    for start in range(0, len(keys), _BLOCK):
        some = keys[start : start + _BLOCK]
        yield pyarrow.table({"key": list(some), "text": [texts[key] for key in some]})


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """A connection to Ray: the process's own where there is one, else for the time of the work."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "include_dashboard": False}
    if address not in {None, "local"}:
        options = {"log_to_driver": False}
    ray.init(address=address or "local", logging_level=logging.ERROR, **options)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()
