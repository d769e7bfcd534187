import sys

import numpy as np
import pytest

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import EmbeddingStore, open_engine
from rag_assets.embedding.session import usable_cores
from rag_assets.errors import ConfigError
from rag_assets_tests.embedding.test_embed import keyed, notes


def test_the_local_engine_embeds_what_is_missing(tmp_path, int8):
    engine = open_engine(EmbeddingConfig(device="cpu"))
    store = EmbeddingStore(tmp_path, int8.fingerprint, int8.dimension)
    texts = keyed(notes(20))
    seen = []
    report = engine.embed_missing(texts, store, seen.append)
    assert (report.reused, report.computed, seen[-1].done) == (0, 20, 20)
    assert np.allclose(store.get(list(texts)), int8.encode(list(texts.values())), atol=1e-6)


def test_the_local_engine_opens_no_model_when_nothing_is_missing(tmp_path):
    engine = open_engine(EmbeddingConfig(model="nobody/no-such-model"))
    report = engine.embed_missing({}, EmbeddingStore(tmp_path, "model", 4))
    assert (report.reused, report.computed) == (0, 0)


def test_ray_is_for_local_models():
    with pytest.raises(ConfigError, match="'openai/x' is a service's; set engine to local"):
        open_engine(EmbeddingConfig(model="openai/x", engine="ray"))


def test_ray_that_is_not_installed_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="install the ray extra"):
        open_engine(EmbeddingConfig(engine="ray"))


def test_an_address_without_its_engine_is_refused():
    with pytest.raises(ValueError, match="ray_address needs engine: ray"):
        EmbeddingConfig(ray_address="auto")


def test_threads_granted_by_the_environment_are_kept(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert usable_cores() == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert usable_cores() >= 1
