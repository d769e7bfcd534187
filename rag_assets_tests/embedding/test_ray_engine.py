"""On a real local Ray; collected only where Ray is installed (conftest.py)."""

import os
import signal

import numpy as np
import psutil
import pytest

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import EmbeddingStore, open_engine
from rag_assets_tests.embedding.test_embed import keyed, notes

pytestmark = pytest.mark.full


def workers_of_this_process() -> list[int]:
    """Processes of Ray's pool that hold the model."""
    return [
        child.pid
        for child in psutil.Process().children(recursive=True)
        if "_MapWorker" in " ".join(child.cmdline()) or "MapWorker" in child.name()
    ]


def test_a_killed_worker_costs_at_most_its_task(tmp_path, int8):
    engine = open_engine(EmbeddingConfig(device="cpu", engine="ray"))
    store = EmbeddingStore(tmp_path, int8.fingerprint, int8.dimension)
    texts = keyed(notes(6000))
    killed = []

    def kill_once(progress):
        if not killed and progress.done >= 512:
            for worker in workers_of_this_process()[:1]:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)

    report = engine.embed_missing(texts, store, kill_once)
    assert len(killed) == 1
    assert (report.reused, report.computed) == (0, 6000)
    assert store.missing(list(texts)) == []
    some = list(texts)[::100]
    assert np.allclose(store.get(some), int8.encode([texts[k] for k in some]), atol=1e-6)
    assert store.verify() == []
    again = engine.embed_missing(texts, store)
    assert (again.reused, again.computed) == (6000, 0)
