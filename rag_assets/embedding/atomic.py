"""Files that appear whole or not at all, also when the machine loses power."""

import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from rag_assets.errors import StorageError

TEMPORARY = ".tmp-"  # what an interrupted write may leave behind begins with this

Buffer: TypeAlias = "bytes | np.ndarray"


def write_atomically(path: Path, parts: Iterable[Buffer]) -> None:
    """Create or replace `path` with the parts, durable before this returns.

    Its directory is made when missing. Raises: StorageError when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
        try:
            with temporary.open("xb") as file:
                for part in parts:
                    file.write(part if isinstance(part, bytes) else part.data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise StorageError(
            f"{path.parent}: cannot be written ({error.strerror or error}); free space there or set"
            " another directory (storage in knowledge_base.yaml, RAG_MODEL_CACHE for models)."
        ) from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
