import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import model_fingerprint, open_encoder, open_tokenizer
from rag_assets.embedding.batching import plan_batches
from rag_assets.errors import ConfigError
from rag_assets_tests.embedding.conftest import HARD_TEXTS

HERE = Path(__file__).parent
REFERENCE = json.loads((HERE / "reference_texts.json").read_text(encoding="utf-8"))["texts"]


def sentences(count: int) -> list[str]:
    """Different texts of 5 to 120 words, the same on every run."""
    chance = random.Random(7)
    words = "pump valve invoice holiday server shelf report grant kettle audit lid noise".split()
    return [
        f"{n}: " + " ".join(chance.choices(words, k=chance.randint(5, 120))) for n in range(count)
    ]


def cosines(left, right):
    return (left * right).sum(axis=1)


def test_fp32_equals_the_original_model(fp32):
    reference = np.load(HERE / "reference_vectors.npy")
    assert cosines(fp32.encode(REFERENCE), reference).min() > 0.999999


def test_int8_stays_close_to_fp32(fp32, int8):
    texts = HARD_TEXTS + REFERENCE + sentences(60)
    close = cosines(int8.encode(texts), fp32.encode(texts))
    assert close.min() >= 0.98
    assert close.mean() >= 0.99


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_vectors_have_length_one_and_are_finite(precision):
    encoder = open_encoder(EmbeddingConfig(precision=precision, device="cpu"))
    vectors = encoder.encode(HARD_TEXTS)
    assert vectors.shape == (len(HARD_TEXTS), encoder.dimension) == (len(HARD_TEXTS), 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_vector_depends_on_its_text_alone(precision):
    encoder = open_encoder(EmbeddingConfig(precision=precision, device="cpu"))
    texts = HARD_TEXTS + sentences(40)
    order = random.Random(3).sample(range(len(texts)), len(texts))
    straight = encoder.encode(texts)
    shuffled = encoder.encode([texts[index] for index in order])
    alone = np.stack([encoder.encode_query(text) for text in texts])
    assert cosines(straight[order], shuffled).min() > 0.99999
    assert cosines(straight, alone).min() > 0.99999


def test_no_texts_give_no_vectors(fp32):
    assert fp32.encode([]).shape == (0, 384)
    assert fp32.count_tokens([]) == []


def test_equal_texts_are_computed_once_and_all_get_their_vector(fp32):
    one, two = sentences(2)
    batches = list(fp32.batches([one, two, one, one]))
    assert sorted(p for batch in batches for p in batch.positions) == [0, 1, 2, 3]
    assert sum(b.tokens for b in batches) == sum(fp32.count_tokens([one, two])) + 4  # [CLS] [SEP]
    vectors = fp32.encode([one, two, one, one])
    assert np.array_equal(vectors[[2, 3]], vectors[[0, 0]])


def test_every_batch_is_reported_with_its_positions(fp32):
    texts = sentences(90)
    seen = np.zeros((len(texts), 384), np.float32)
    positions = []

    def on_batch(places, vectors):
        positions.append(list(places))
        seen[places] = vectors

    vectors = fp32.encode(texts, on_batch)
    assert len(positions) > 1
    assert sorted(place for places in positions for place in places) == list(range(90))
    assert np.array_equal(seen, vectors)


def test_texts_are_cut_at_256_tokens(fp32):
    long = "alpha " * 254
    assert fp32.max_tokens == 256
    assert np.allclose(fp32.encode_query(long), fp32.encode_query(long + "omega " * 50), atol=1e-6)
    shorter = "alpha " * 253
    assert not np.allclose(
        fp32.encode_query(shorter + "omega"), fp32.encode_query(shorter), atol=1e-6
    )


def test_padding_changes_nothing(fp32):
    short, long = "Tea.", "alpha " * 200
    assert plan_batches([4, 202], 2048) == [[1, 0]]  # they share a batch
    assert np.allclose(fp32.encode([short, long])[0], fp32.encode_query(short), atol=1e-6)


def test_tokens_are_counted_uncut_and_without_special_tokens(fp32):
    assert fp32.count_tokens(["", "hello world", "alpha " * 1000]) == [0, 2, 1000]


def test_the_tokenizer_neither_pads_nor_cuts(fp32):
    tokenizer = open_tokenizer(EmbeddingConfig())
    assert tokenizer.padding is None
    assert tokenizer.truncation is None
    assert [len(e.ids) for e in tokenizer.encode_batch(["hi", "alpha " * 300])] == [3, 302]


def test_threads_may_ask_at_once(fp32):
    texts = sentences(24)
    expected = fp32.encode(texts)
    with ThreadPoolExecutor(4) as pool:
        found = np.stack(list(pool.map(fp32.encode_query, texts)))
    assert np.allclose(found, expected, atol=1e-5)


def test_fingerprints_differ_by_precision_and_match_the_encoder(fp32, int8):
    assert fp32.fingerprint == model_fingerprint(EmbeddingConfig(precision="fp32"))
    assert int8.fingerprint == model_fingerprint(EmbeddingConfig(precision="int8"))
    assert fp32.fingerprint != int8.fingerprint


def test_one_encoder_per_configuration():
    config = EmbeddingConfig(precision="fp32", device="cpu")
    with ThreadPoolExecutor(4) as pool:
        opened = set(pool.map(lambda _: id(open_encoder(config)), range(8)))
    assert len(opened) == 1


def test_the_provider_in_use_is_reported(fp32):
    assert fp32.provider == "CPUExecutionProvider"


def test_a_gpu_that_is_not_there_is_refused():
    import onnxruntime

    built_in = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    reason = "check with nvidia-smi" if built_in else "no CUDA provider; install the gpu extra"
    with pytest.raises(ConfigError, match=reason):
        open_encoder(EmbeddingConfig(precision="fp32", device="cuda"))


def test_token_vectors_come_with_the_same_vectors(fp32):
    texts = [*REFERENCE, REFERENCE[0]]
    vectors, tokens = fp32.encode_with_tokens(texts)
    assert np.allclose(vectors, fp32.encode(texts), atol=1e-6)
    limit = fp32.max_tokens - 2
    assert [len(m) for m in tokens] == [min(n, limit) for n in fp32.count_tokens(texts)]
    assert {matrix.dtype for matrix in tokens} == {np.dtype(np.int8)}
    assert np.array_equal(tokens[0], tokens[-1])


def test_int8_token_vectors_keep_their_direction(fp32):
    text = REFERENCE[2]
    _, [tokens] = fp32.encode_with_tokens([text])
    ids = open_tokenizer(EmbeddingConfig()).encode(text).ids
    feed = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
    [exact] = fp32._open.session.run(["token_embeddings"], feed)[0]
    normal = [m / np.linalg.norm(m, axis=1, keepdims=True) for m in (exact[1:-1], tokens)]
    assert cosines(*normal).min() > 0.9995


def test_a_query_gives_its_token_vectors_too(fp32):
    vector, tokens = fp32.encode_query_with_tokens("blue kettle")
    assert np.array_equal(vector, fp32.encode_query("blue kettle"))
    assert tokens.shape == (fp32.count_tokens(["blue kettle"])[0], 384)
    assert fp32.encode_query_with_tokens("")[1].shape == (0, 384)
