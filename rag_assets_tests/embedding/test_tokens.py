import numpy as np
import pytest

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import EmbeddingStore, embed_missing, open_encoder, token_form
from rag_assets.embedding.tokens import TokenStore, unit_rows
from rag_assets.errors import StorageError
from rag_assets.records import text_key

TEXTS = ["The vacation policy grants thirty days.", "Ask the (printer) team, please!", "of the"]


@pytest.fixture(scope="module")
def encoder():
    return open_encoder(EmbeddingConfig())


@pytest.fixture(scope="module")
def form():
    return token_form(EmbeddingConfig())


def keys(texts):
    return [text_key(text) for text in texts]


def matrix(seed, rows=3, dimension=8):
    return np.random.default_rng(seed).integers(-127, 128, (rows, dimension)).astype(np.int8)


def test_function_words_and_punctuation_are_dropped(encoder, form):
    _, matrices = encoder.encode_with_tokens(TEXTS)
    small = form.passages(TEXTS, matrices)
    assert [len(m) for m in matrices] == [7, 9, 2]
    assert [len(m) for m in small] == [5, 4, 2]  # a text of nothing else keeps all its words
    assert all(m.shape[1] == form.dimension == 128 and m.dtype == np.int8 for m in small)


def test_the_projection_keeps_which_words_are_alike(encoder, form):
    texts = ["annual vacation days", "holidays each year", "reset the printer driver"]
    _, matrices = encoder.encode_with_tokens(texts)
    full = [unit_rows(m.astype(np.float32)) for m in matrices]
    small = [form.query(m) for m in matrices]
    for a in range(3):
        for b in range(3):
            before, after = full[a] @ full[b].T, small[a] @ small[b].T
            assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9


def test_words_are_those_of_the_tokens(encoder, form):
    text = "Unbelievably, HR-17's vacation? 休暇"
    _, tokens = encoder.encode_query_with_tokens(text)
    words = form.words(text)
    assert len(words) == len(tokens)
    assert words[0] == "Unbelievably"
    assert {"HR", "17", "vacation", "休"} <= set(words)


def test_gives_back_what_was_put(tmp_path):
    store = TokenStore.create(tmp_path, 8)
    matrices = [matrix(1), matrix(2, 40), np.empty((0, 8), np.int8)]
    store.put(keys(TEXTS), matrices)
    store.put(keys(TEXTS[:1]), [matrix(9)])  # a known key keeps its own
    again = TokenStore.find(tmp_path)
    found = again.get([text_key("other"), *keys(TEXTS)])
    assert found[0] is None
    assert all((a == b).all() for a, b in zip(found[1:], matrices, strict=True))
    assert again.dimension == 8
    assert again.missing([*keys(TEXTS), text_key("other")]) == {text_key("other")}


def test_more_keys_than_one_statement_takes(tmp_path):
    store = TokenStore.create(tmp_path, 8)
    many = keys(str(number) for number in range(1200))
    store.put(many, [matrix(number, 1) for number in range(1200)])
    assert store.missing(many) == set()
    assert [int(m[0, 0]) for m in store.get(many)] == [int(matrix(n, 1)[0, 0]) for n in range(1200)]


def test_what_is_not_kept_is_dropped(tmp_path):
    store = TokenStore.create(tmp_path, 8)
    store.put(keys(TEXTS), [matrix(n) for n in range(3)])
    assert store.keep_only(keys(TEXTS[:1])) == 2
    assert store.missing(keys(TEXTS)) == set(keys(TEXTS[1:]))
    assert store.keep_only(keys(TEXTS[:1])) == 0


def test_a_damaged_file_is_set_aside(tmp_path):
    TokenStore.create(tmp_path, 8).close()
    (tmp_path / "tokens-1.sqlite3").write_bytes(b"not a database, not at all" * 100)
    assert TokenStore.find(tmp_path) is None
    assert (tmp_path / "tokens-1.sqlite3.damaged").exists()
    assert TokenStore.create(tmp_path, 8).missing(keys(TEXTS)) == set(keys(TEXTS))


def test_what_cannot_be_written_is_an_error_in_words(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        TokenStore.create(tmp_path / "file", 8)


def test_embedding_fills_both_stores_and_only_what_is_missing(tmp_path, encoder, form):
    store = EmbeddingStore(tmp_path, "m", encoder.dimension)
    texts = dict(zip(keys(TEXTS), TEXTS, strict=True))
    assert embed_missing(texts, encoder, store).computed == 3
    assert store.missing(keys(TEXTS)) == []
    store.keep_tokens(form.dimension)
    assert store.missing(keys(TEXTS)) == keys(TEXTS)  # turned on later: token vectors are missing
    before = store.get(keys(TEXTS))
    assert embed_missing(texts, encoder, store).computed == 3
    assert embed_missing(texts, encoder, store).computed == 0
    assert (store.get(keys(TEXTS)) == before).all()
    _, matrices = encoder.encode_with_tokens(TEXTS)
    for found, wanted in zip(
        store.tokens.get(keys(TEXTS)), form.passages(TEXTS, matrices), strict=True
    ):
        assert found.shape == wanted.shape
        assert np.abs(found.astype(int) - wanted).max() <= 12  # batches differ in the last bits


def test_another_process_keeps_them_up_without_being_told(tmp_path, encoder, form):
    EmbeddingStore(tmp_path, "m", encoder.dimension).keep_tokens(form.dimension)
    other = EmbeddingStore(tmp_path, "m", encoder.dimension)
    embed_missing({text_key("one more"): "one more"}, encoder, other)
    assert other.tokens.missing([text_key("one more")]) == set()


def test_an_encoder_without_token_vectors_turns_them_off(tmp_path):
    class Plain:
        def admit(self, texts):
            """Costs nothing."""

        def batches(self, texts):
            return iter(())

    store = EmbeddingStore(tmp_path, "m", 4)
    store.keep_tokens(8)
    embed_missing({}, Plain(), store)
    assert store.tokens is None
    assert TokenStore.find(tmp_path / "m") is None
