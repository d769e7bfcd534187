"""Everything an index version holds, for comparing versions that were made on different ways."""

from contextlib import closing
from pathlib import Path
from typing import Any

from rag_assets.index.build import LEXICAL
from rag_assets.index.dense import DenseIndex
from rag_assets.index.homes import CHROMA
from rag_assets.index.lexical import LexicalIndex
from rag_assets.index.passages import PassageStore
from rag_assets.index.versions import Versions


def held(storage: str | Path) -> dict[str, Any]:
    """What the live version of a storage holds, read from its own stores."""
    versions = Versions(storage)
    directory = versions.directory(versions.live().version)
    with (
        closing(DenseIndex.open(directory / CHROMA, "cosine")) as dense,
        closing(LexicalIndex.open(directory / LEXICAL)) as lexical,
        closing(PassageStore.open(directory)) as passages,
    ):
        ids = passages.chunk_ids()
        return {
            "documents": sorted((row[0], row[2]) for row in passages.document_states().iter_rows()),
            "passages": {
                p.chunk_id: (p.doc_id, p.text, p.start, p.end, p.heading, p.ordinal)
                for p in passages.passages(ids)
            },
            "vectors": {i: v.round(4).tolist() for i, v in dense.vectors(ids).items()},
            "lexical": sorted(lexical.ids()),
        }
