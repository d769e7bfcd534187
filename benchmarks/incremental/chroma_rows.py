"""What a peer's Chroma collection holds, read back for verification."""

from collections.abc import Iterator
from pathlib import Path

import chromadb
import numpy as np

from benchmarks.incremental.shared import Row, spread

_PAGE = 5000


def chroma_rows(directory: Path, collection: str, path_key: str) -> Iterator[Row]:
    """Every row; `path_key` is the metadata field that holds the file's path."""
    client = chromadb.PersistentClient(str(directory))
    held = client.get_collection(collection, embedding_function=None)
    ids = held.get(include=[])["ids"]
    looked_up = spread(ids)
    found = held.get(ids=looked_up, include=["embeddings"]) if looked_up else None
    vectors = dict(zip(found["ids"], found["embeddings"], strict=True)) if found else {}
    for start in range(0, len(ids), _PAGE):
        page = held.get(ids=ids[start : start + _PAGE], include=["documents", "metadatas"])
        for row_id, text, metadata in zip(
            page["ids"], page["documents"], page["metadatas"], strict=True
        ):
            vector = vectors.get(row_id)
            path = str(metadata[path_key])
            yield Row(path, text, None if vector is None else np.asarray(vector, np.float32))
