import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest

from rag_assets.embedding import EmbeddingStore, embed_missing
from rag_assets.errors import StorageError
from rag_assets.records import text_key


def keyed(texts):
    return {text_key(text): text for text in texts}


def notes(count: int) -> list[str]:
    return [f"Note {number}: shelf {number % 7} was counted again." for number in range(count)]


@pytest.fixture
def store(tmp_path, int8):
    return EmbeddingStore(tmp_path, int8.fingerprint, int8.dimension)


def test_only_missing_texts_are_computed(store, int8):
    texts = notes(40)
    first = embed_missing(keyed(texts[:30]), int8, store)
    assert (first.reused, first.computed, first.usd) == (0, 30, 0.0)
    assert first.tokens == sum(int8.count_tokens(texts[:30])) + 2 * 30  # [CLS] and [SEP]
    second = embed_missing(keyed(texts), int8, store)
    assert (second.reused, second.computed) == (30, 10)
    third = embed_missing(keyed(texts), int8, store)
    assert (third.reused, third.computed, third.tokens) == (40, 0, 0)
    expected = int8.encode(texts)
    assert np.allclose(store.get([text_key(text) for text in texts]), expected, atol=1e-6)


def test_nothing_to_do(store, int8):
    report = embed_missing({}, int8, store)
    assert (report.reused, report.computed, report.tokens) == (0, 0, 0)
    assert not store.directory.exists()


def test_progress_counts_up_to_the_total(store, int8):
    texts = notes(300)
    seen = []
    report = embed_missing(keyed(texts), int8, store, seen.append)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert {p.total for p in seen} == {300}
    assert (seen[-1].done, seen[-1].eta, seen[-1].tokens) == (300, 0.0, report.tokens)
    assert all(p.tokens_per_second > 0 for p in seen)


def test_vectors_are_durable_before_the_work_ends(store, int8):
    texts = notes(700)
    held = []

    def look(progress):
        held.append((progress.done, store.size().vectors))

    embed_missing(keyed(texts), int8, store, look)
    assert all(done - kept < 2 * 256 for done, kept in held)
    assert any(0 < kept < 700 for _, kept in held)


def test_a_store_that_cannot_be_written_stops_the_work(tmp_path, int8):
    (tmp_path / "file").write_text("in the way")
    store = EmbeddingStore(tmp_path / "file", int8.fingerprint, int8.dimension)
    with pytest.raises(StorageError):
        embed_missing(keyed(notes(3)), int8, store)


WORKER = """
import sys
from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import EmbeddingStore, embed_missing, open_encoder
from rag_assets_tests.embedding.test_embed import keyed, notes
encoder = open_encoder(EmbeddingConfig(device="cpu"))
store = EmbeddingStore(sys.argv[1], encoder.fingerprint, encoder.dimension)
embed_missing(keyed(notes(2000)), encoder, store, lambda p: print(p.done, flush=True))
"""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_kill_loses_at_most_one_write(tmp_path, int8, seed):
    texts = notes(2000)
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    stop_at = random.Random(seed).randint(1, 1500)
    done = 0
    for line in worker.stdout:
        done = int(line)
        if done >= stop_at:
            os.kill(worker.pid, signal.SIGKILL)
            break
    rest = worker.stdout.read().split()
    worker.wait()
    done = int(rest[-1]) if rest else done
    store = EmbeddingStore(tmp_path, int8.fingerprint, int8.dimension)
    missing = store.missing([text_key(text) for text in texts])
    assert len(texts) - len(missing) > done - 256 - 128
    report = embed_missing(keyed(texts), int8, store)
    assert report.computed == len(missing)
    expected = int8.encode(texts[::40])
    found = store.get([text_key(text) for text in texts[::40]])
    assert np.allclose(found, expected, atol=1e-6)
    assert store.verify() == []
