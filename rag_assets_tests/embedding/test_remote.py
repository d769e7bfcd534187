import subprocess
import sys

import numpy as np
import pytest

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import (
    EmbeddingStore,
    embed_missing,
    model_facts,
    model_fingerprint,
    open_encoder,
    open_tokenizer,
)
from rag_assets.embedding.remote import Pacer, RemoteEncoder
from rag_assets.embedding.services import PROVIDERS, is_service, load_litellm
from rag_assets.errors import ConfigError, Held, LlmError
from rag_assets.records import text_key
from rag_assets_tests.embedding.conftest import HARD_TEXTS
from rag_assets_tests.embedding.service import DIMENSION, running_service, service_vector

MODEL = "openai/text-embedding-test"


@pytest.fixture
def service():
    with running_service() as server:
        yield server


@pytest.fixture(autouse=True)
def _own_memo(tmp_path_factory, monkeypatch):
    """Dimensions remembered from other servers on the same port must not be found."""
    from rag_assets.embedding import services
    from rag_assets.embedding.model_store import cache_directory

    kept = cache_directory()
    folder = tmp_path_factory.mktemp("cache")
    for name in ("graphs", "digests", "tokenizers"):
        (kept / name).mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(kept / name)
    monkeypatch.setenv("RAG_MODEL_CACHE", str(folder))
    services.is_service.cache_clear()


def config(service, **changes) -> EmbeddingConfig:
    return EmbeddingConfig(model=MODEL, api_base=service.url, api_key="sk-test", **changes)


def encoder(service, **changes) -> RemoteEncoder:
    """An encoder whose pauses are noted, not waited for."""
    pauses = []
    made = RemoteEncoder(config(service, **changes), pause=pauses.append)
    made.pauses = pauses
    service.inputs.clear()
    return made


def keyed(texts):
    return {text_key(text): text for text in texts}


def unit(text, dimension=DIMENSION):
    return np.array(service_vector(text, dimension), dtype=np.float32) / 3


def test_vectors_come_normalised_and_in_order(service):
    texts = [f"text {n}" for n in range(7)]
    vectors = encoder(service).encode([*texts, texts[0]])
    assert np.allclose(vectors, [unit(text) for text in [*texts, texts[0]]], atol=1e-6)
    assert vectors.dtype == np.float32
    assert service.inputs == [texts]  # the repeated text is sent once
    assert service.keys[-1] == "Bearer sk-test"


def test_a_request_has_at_most_100_texts(service):
    texts = [f"text {n}" for n in range(230)]
    batches = list(encoder(service).batches(texts))
    assert [len(request) for request in service.inputs] == [100, 100, 30]
    assert [(len(b.positions), b.tokens) for b in batches] == [(100, 500), (100, 500), (30, 150)]


def test_a_request_has_at_most_100_000_tokens(service):
    long = " word" * 8000
    encoder(service).encode([f"{n}{long}" for n in range(14)])
    assert [len(request) for request in service.inputs] == [12, 2]


def test_hard_texts_pass(service):
    found = encoder(service).encode(HARD_TEXTS)
    assert np.allclose(found[1:], [unit(text) for text in HARD_TEXTS[1:]], atol=1e-6)
    assert np.allclose(found[0], unit(" "), atol=1e-6)  # an empty input would be refused


def test_a_text_is_cut_at_the_limit_of_the_model(service):
    encoder(service).encode([" tea" * 9000])
    assert service.inputs == [[" tea" * 8191]]


def test_the_dimension_is_asked_for_once(service):
    assert model_facts(config(service)) == (DIMENSION, 8191)
    assert service.inputs == [["dimension"]]
    assert encoder(service).dimension == DIMENSION
    assert service.inputs == []


def test_chosen_dimensions_are_sent_and_are_another_space(service):
    small = encoder(service, dimensions=4)
    assert np.allclose(small.encode(["a"]), [unit("a", 4)], atol=1e-6)
    assert service.bodies[-1]["dimensions"] == 4
    assert small.fingerprint != encoder(service).fingerprint


def test_the_public_functions_know_services(service):
    made = open_encoder(config(service))
    assert isinstance(made, RemoteEncoder)
    assert open_encoder(config(service)) is made
    assert made.fingerprint == model_fingerprint(config(service))
    assert (made.name, made.provider) == (MODEL, "openai")
    assert np.allclose(made.encode_query("q"), unit("q"), atol=1e-6)
    assert made.encode([]).shape == (0, DIMENSION)


def test_where_a_model_is_reached_is_no_part_of_its_fingerprint(service):
    there = EmbeddingConfig(model=MODEL, api_base="http://elsewhere/v1", api_key="k")
    assert model_fingerprint(config(service)) == model_fingerprint(there)
    other = EmbeddingConfig(model="openai/text-embedding-3-small", api_key="k")
    assert model_fingerprint(other) != model_fingerprint(there)


def test_known_models_need_no_call():
    assert model_facts(EmbeddingConfig(model="openai/text-embedding-3-small", api_key="k")) == (
        1536,
        8191,
    )


def test_temporary_failures_are_repeated_with_growing_pauses(service):
    made = encoder(service)
    service.moods = [(500, {}), (503, {}), (429, {"Retry-After": "7"}), (200, {})]
    assert np.allclose(made.encode(["a"]), [unit("a")], atol=1e-6)
    first, second, third = made.pauses
    assert 1 <= first <= 1.5
    assert 2 <= second <= 3
    assert third == 7
    assert len(service.inputs) == 1


def test_a_service_that_stays_down_is_one_clear_error_and_keeps_what_was_done(service, tmp_path):
    made = encoder(service)
    store = EmbeddingStore(tmp_path, made.fingerprint, made.dimension)
    service.moods = [(200, {}), *[(500, {})] * 6]
    texts = [f"text {n}" for n in range(150)]
    with pytest.raises(LlmError, match=r"failed after 6 attempts: .*What was embedded is kept"):
        embed_missing(keyed(texts), made, store)
    assert len(made.pauses) == 5
    assert store.size().vectors == 100
    report = embed_missing(keyed(texts), made, store)
    assert (report.reused, report.computed) == (100, 50)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_not_repeated(service, status):
    made = encoder(service)
    service.moods = [(status, {})]
    with pytest.raises(LlmError, match=r"failed after 1 attempt:"):
        made.encode(["a"])
    assert made.pauses == []


def test_an_unreachable_service_is_one_clear_error(service):
    made = RemoteEncoder(
        EmbeddingConfig(
            model=MODEL, api_base="http://127.0.0.1:9/v1", api_key="k", dimensions=DIMENSION
        ),
        pause=lambda seconds: None,
    )
    with pytest.raises(LlmError, match="after 6 attempts"):
        made.encode(["a"])


def test_too_few_vectors_are_refused(service):
    made = encoder(service)
    service.reply = lambda data: data[1:]
    with pytest.raises(LlmError, match="1 vectors came back for 2 texts"):
        made.encode(["a", "b"])


def test_vectors_of_another_model_are_refused(service):
    made = encoder(service)
    service.reply = lambda data: [{**row, "embedding": [1.0, 2.0]} for row in data]
    with pytest.raises(LlmError, match="of 2 dimensions came back, wanted 8"):
        made.encode(["a"])


def test_a_vector_without_length_is_refused(service):
    made = encoder(service)
    service.reply = lambda data: [{**row, "embedding": [0.0] * DIMENSION} for row in data]
    with pytest.raises(LlmError, match=r"length 0\.0 came back"):
        made.encode(["a"])


def test_tokens_and_cost_are_counted(service, tmp_path):
    made = encoder(service, usd_per_million_tokens=2.0)
    store = EmbeddingStore(tmp_path, made.fingerprint, made.dimension)
    report = embed_missing(keyed(f"text {n}" for n in range(120)), made, store)
    assert report.tokens == 120 * 5
    assert report.usd == pytest.approx(120 * 5 * 2e-6)
    service.tokens_per_text = None  # the service does not count: our own count is taken
    report = embed_missing(keyed(["one two three"]), made, store)
    assert report.tokens == 3


def test_a_budget_stops_before_anything_is_sent(service, tmp_path):
    made = encoder(service, usd_per_million_tokens=1000.0, budget_usd=0.01)
    store = EmbeddingStore(tmp_path, made.fingerprint, made.dimension)
    with pytest.raises(
        Held, match=r"4 texts \(16 tokens\).* cost about \$0\.0160, .*is \$0\.0100;"
    ):
        embed_missing(keyed(f"a cat {n}" for n in range(4)), made, store)
    assert service.inputs == []
    assert Held.exit_code == 4
    assert embed_missing(keyed(["a cat 1", "a cat 2"]), made, store).computed == 2


def test_a_budget_also_stops_when_the_service_counts_more_than_expected(service, tmp_path):
    made = encoder(service, usd_per_million_tokens=1.0, budget_usd=0.001)
    store = EmbeddingStore(tmp_path, made.fingerprint, made.dimension)
    service.tokens_per_text = 10
    with pytest.raises(Held, match=r"has cost \$0\.0010, the next request would pass"):
        embed_missing(keyed(f"{n}" for n in range(300)), made, store)
    assert store.size().vectors == 100


def test_a_budget_needs_a_price(service):
    with pytest.raises(ConfigError, match=r"price of .* set embedding\.usd_per_million_tokens"):
        encoder(service, budget_usd=1.0)


def test_a_missing_key_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is not set"):
        open_encoder(EmbeddingConfig(model="openai/text-embedding-3-small"))


def test_rate_limits_are_kept_by_waiting(service):
    made = encoder(service, requests_per_minute=2)
    now = [0.0]
    made._pacer = Pacer(
        2, None, clock=lambda: now[0], pause=lambda s: now.__setitem__(0, now[0] + s)
    )
    made.encode([f"text {n}" for n in range(450)])
    assert len(service.inputs) == 5
    assert now[0] == 120.0


def test_the_pacer_counts_tokens_too():
    now = [0.0]
    pacer = Pacer(None, 100, clock=lambda: now[0], pause=lambda s: now.__setitem__(0, now[0] + s))
    starts = []
    for tokens in (60, 40, 10, 500, 1):
        pacer.admit(tokens)
        starts.append(now[0])
    assert starts == [0, 0, 60, 120, 180]


def test_local_names_are_not_services(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openai" / "mine").mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.onnx"):
        (tmp_path / "openai" / "mine" / name).write_text("{}")
    assert is_service("openai/text-embedding-3-small")
    assert is_service("dashscope/text-embedding-v4")  # one that only litellm itself knows
    assert not is_service("openai/mine")
    assert not is_service("sentence-transformers/all-MiniLM-L6-v2")
    assert not is_service("all-MiniLM-L6-v2")
    assert not is_service("BAAI/bge-small-en-v1.5")
    assert not is_service("snowflake/snowflake-arctic-embed-xs")  # also the name of a provider
    assert not is_service("nobody/no-such-model")


def test_every_listed_provider_is_one_of_litellm():
    known = {getattr(name, "value", name) for name in load_litellm().provider_list}
    assert known >= PROVIDERS


def test_tokens_are_counted_as_openai_does(monkeypatch):
    import importlib.util
    from pathlib import Path

    folder = Path(importlib.util.find_spec("litellm").origin).parent
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder / "litellm_core_utils" / "tokenizers"))
    import tiktoken

    truth = tiktoken.get_encoding("cl100k_base")
    tokenizer = open_tokenizer(EmbeddingConfig(model="openai/text-embedding-3-small"))
    for text in [*HARD_TEXTS, "don't I'LL 1234567\r\n\r\n  \t x", Path(__file__).read_text()]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == truth.encode(text, disallowed_special=())


def test_counting_tokens_of_a_service_imports_no_litellm():
    code = (
        "import sys; from rag_assets.config import EmbeddingConfig;"
        "from rag_assets.embedding import model_fingerprint, open_tokenizer;"
        "c = EmbeddingConfig(model='openai/text-embedding-3-small');"
        "model_fingerprint(c); open_tokenizer(c).encode('hi');"
        "assert not {'litellm', 'tiktoken', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
