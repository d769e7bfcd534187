"""A refresh in a process of its own that dies by SIGKILL at a chosen moment."""

import itertools
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from typing import Any

import dagster as dg

from rag_assets.config import load_config
from rag_assets.defs.execute import Refresher
from rag_assets.embedding.store import EmbeddingStore
from rag_assets.index import build, versions
from rag_assets.index.dense import DenseIndex
from rag_assets.index.lexical import LexicalIndex
from rag_assets.index.passages import PassageStore
from rag_assets.lake import Lake
from rag_assets.mirror import Bucket
from rag_assets.refresh.pipeline import Options

# Where a refresh changes something on disk: the moments before and after each are its boundaries.
BOUNDARIES: dict[str, tuple[Any, str]] = {
    "blob": (Lake, "put_bytes"),
    "partition": (Lake, "_write"),
    "vectors": (EmbeddingStore, "put"),
    "new directory": (versions.Versions, "new_directory"),
    "copy": (build, "_copy_version"),
    "passages": (PassageStore, "replace_documents"),
    "dense delete": (DenseIndex, "delete"),
    "dense add": (DenseIndex, "add"),
    "lexical": (LexicalIndex, "commit"),
    "seal": (DenseIndex, "seal"),
    "flush": (build, "_flush_to_disk"),
    "manifest": (versions.Versions, "write_manifest"),
    "verdict": (versions.Versions, "record_outcome"),
    "pointer": (versions.Versions, "_flip"),
    "garbage": (versions.Versions, "collect_garbage"),
}
# What publishing to an object store adds to them.
UPLOADS: dict[str, tuple[Any, str]] = {
    "part": (Bucket, "put_part"),
    "listing": (Bucket, "put_listing"),
    "head": (Bucket, "put_head"),
}

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__, "chromadb", "tantivy", "onnxruntime"])


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _crashing(function: Callable[..., Any], *, after: bool, call: int) -> Callable[..., Any]:
    calls = itertools.count(1)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        number = next(calls)  # of any thread
        if number == call and not after:
            _die()
        result = function(*args, **kwargs)
        if number == call and after:
            _die()
        return result

    return wrapped


def _refresh(path: str, boundary: str | None, after: bool, call: int) -> None:
    if boundary is not None:
        owner, name = (BOUNDARIES | UPLOADS)[boundary]
        setattr(owner, name, _crashing(getattr(owner, name), after=after, call=call))
    with dg.DagsterInstance.ephemeral() as instance:
        Refresher(load_config(path), instance).refresh(Options())


def _refresh_on_a_small_disk(path: str, largest: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    _refresh(path, None, False, 1)


def start_refresh_on_a_small_disk(
    path: object, largest: int
) -> multiprocessing.process.BaseProcess:
    """Start a refresh in which no file can grow above `largest` bytes, as on a full disk."""
    process = _context.Process(target=_refresh_on_a_small_disk, args=(str(path), largest))
    process.start()
    return process


def start_refresh(
    path: object, boundary: str | None = None, *, after: bool = False, call: int = 1
) -> multiprocessing.process.BaseProcess:
    """Start a refresh that kills itself before or after the given call of a boundary."""
    process = _context.Process(target=_refresh, args=(str(path), boundary, after, call))
    process.start()
    return process
