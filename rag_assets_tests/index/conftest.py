import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rag_assets.config import IndexConfig
from rag_assets.index.base import CheckOutcome, Manifest
from rag_assets.index.build import Wanted, build_candidate, must_rebuild, plan_delta, read_held
from rag_assets.index.versions import REQUIRED_CHECKS, Versions
from rag_assets.records import CHUNKS, DOCUMENTS, MANIFEST, text_key

MODEL, DIMENSION = "model-a", 16


def vector(key: str) -> np.ndarray:
    """A unit vector that only depends on the key."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    found = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    return found / np.linalg.norm(found)


def vectors(keys: list[str]) -> np.ndarray:
    return np.stack([vector(key) for key in keys]) if keys else np.zeros((0, DIMENSION), np.float32)


def wanted(content: dict[str, list[str]], titles: dict[str, str] | None = None) -> Wanted:
    """What a version of these documents holds: doc_id → its chunk texts; and → its title."""
    named = {doc_id: doc_id for doc_id in content} | (titles or {})
    documents = pl.DataFrame(
        [
            {
                "doc_id": doc_id,
                "source": "docs",
                "partition": "docs:00",
                "uri": f"file:///{doc_id}",
                "title": named[doc_id],
                "metadata": "{}",
                "acl": ["everyone"],
                "content_hash": text_key("".join(texts)),
                "held": False,
                "state": text_key("state" + named[doc_id] + "".join(texts)),
            }
            for doc_id, texts in content.items()
        ],
        schema=DOCUMENTS,
    )
    chunks = pl.DataFrame(
        [
            {
                "chunk_id": text_key(doc_id + text)[:32],
                "doc_id": doc_id,
                "source": "docs",
                "partition": "docs:00",
                "ordinal": ordinal,
                "text": text,
                "start": ordinal,
                "end": ordinal + len(text),
                "tokens": 1,
                "headings": ["Top", named[doc_id]],
                "text_key": text_key(text),
            }
            for doc_id, texts in content.items()
            for ordinal, text in enumerate(texts)
        ],
        schema=CHUNKS,
    )
    manifest = chunks.select(MANIFEST.names()).sort("chunk_id")
    return Wanted(documents.lazy(), chunks.lazy(), manifest, {"docs:00": "d"})


def build(
    versions: Versions,
    content: dict[str, list[str]],
    *,
    model: str = MODEL,
    home: str = "embedded",
    titles: dict[str, str] | None = None,
) -> Manifest:
    """Build a candidate with this content from the live version."""
    target = wanted(content, titles)
    pointer = versions.pointer()
    parent = versions.manifest(pointer.version) if pointer else None
    states = target.documents.select("doc_id", "state", "content_hash").collect()
    delta = plan_delta(
        *read_held(versions, pointer.version if pointer else None), target.manifest, states
    )
    config = IndexConfig(chroma=home)
    with versions.publishing():
        return build_candidate(
            versions,
            target,
            vectors,
            config=config,
            knowledge_base="test",
            model=model,
            model_name=model,
            dimension=DIMENSION,
            run_id="run",
            parent=parent,
            delta=delta,
            rebuild=must_rebuild(parent, config, model, delta),
        )


def approve(versions: Versions, version: int) -> None:
    """Record passing outcomes of every required check."""
    for name in REQUIRED_CHECKS:
        outcome = CheckOutcome(name, True, "fine")
        versions.record_outcome(version, name, {"passed": outcome.passed, "summary": "fine"})


def publish(
    versions: Versions, content: dict[str, list[str]], *, home: str = "embedded"
) -> Manifest:
    manifest = build(versions, content, home=home)
    approve(versions, manifest.version)
    versions.promote(manifest.version)
    return manifest


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(tmp_path)
