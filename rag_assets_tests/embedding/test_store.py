import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rag_assets.embedding import EmbeddingStore
from rag_assets.embedding.segment import SUFFIX
from rag_assets.errors import StorageError
from rag_assets.records import text_key

DIMENSION = 4
WORDS = [f"w{number}" for number in range(40)]
KEYS = {word: text_key(word) for word in WORDS}


def vector(word: str) -> np.ndarray:
    """The one right vector of a word."""
    return np.frombuffer(bytes.fromhex(text_key(word))[:16], dtype=np.uint32).astype(np.float32)


def put(store: EmbeddingStore, *words: str) -> None:
    store.put([text_key(w) for w in words], np.stack([vector(w) for w in words]))


def segments(store: EmbeddingStore) -> list[Path]:
    return sorted(store.directory.glob(f"*{SUFFIX}"))


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path, "model", DIMENSION)


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)


class StoreAgainstDict(RuleBasedStateMachine):
    """Any sequence of operations leaves what a plain set of words would."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = EmbeddingStore(self.folder.name, "m", DIMENSION)
        self.held = set()

    def teardown(self):
        self.folder.cleanup()

    @rule(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=12, unique=True))
    def put(self, words):
        put(self.store, *words)
        self.held |= set(words)

    @rule()
    def compact(self):
        self.store.compact()

    @rule()
    def reopen(self):
        self.store = EmbeddingStore(self.folder.name, "m", DIMENSION)

    @rule(words=st.sets(st.sampled_from(WORDS)))
    def collect(self, words):
        now = datetime.now(UTC) + timedelta(days=2)
        dropped = self.store.collect_garbage([KEYS[w] for w in words], timedelta(days=1), now)
        assert dropped == len(self.held - words)
        self.held &= words

    @rule()
    def collect_only_the_old(self):
        now = datetime.now(UTC)
        assert self.store.collect_garbage([], timedelta(hours=1), now) == 0

    @rule(chance=st.randoms(use_true_random=False))
    def damage(self, chance):
        paths = segments(self.store)
        if not paths:
            return
        path = chance.choice(paths)
        size = path.stat().st_size
        if chance.random() < 0.5:
            os.truncate(path, chance.randrange(size))
        else:
            flip(path, chance.randrange(size))
        self.store = EmbeddingStore(self.folder.name, "m", DIMENSION)
        self.store.verify()
        lost = set(self.store.missing([KEYS[w] for w in self.held]))
        self.held = {word for word in self.held if KEYS[word] not in lost}

    @invariant()
    def holds_exactly_what_the_set_holds(self):
        keys = [KEYS[word] for word in WORDS]
        assert self.store.missing(keys) == [KEYS[w] for w in WORDS if w not in self.held]
        here = sorted(self.held)
        found = self.store.get([KEYS[word] for word in here])
        assert np.array_equal(found, np.array([vector(w) for w in here]).reshape(-1, DIMENSION))
        assert self.store.size().vectors == len(self.held)


StoreAgainstDict.TestCase.settings = settings(
    max_examples=40, stateful_step_count=15, deadline=None
)
TestStoreAgainstDict = StoreAgainstDict.TestCase


def test_missing_names_each_key_once_in_order(store):
    put(store, "b")
    asked = [text_key(w) for w in ("c", "b", "a", "c", "a")]
    assert store.missing(asked) == [text_key("c"), text_key("a")]
    assert store.missing([]) == []


def test_get_keeps_order_and_repeats(store):
    put(store, "a", "b")
    put(store, "c")
    found = store.get([text_key(w) for w in "cabc"])
    assert np.array_equal(found, np.stack([vector(w) for w in "cabc"]))
    assert found.dtype == np.float32
    assert store.get([]).shape == (0, DIMENSION)


def test_an_unwritten_store_is_empty_and_leaves_no_directory(store):
    assert store.size().vectors == store.size().bytes == store.size().segments == 0
    assert store.missing([text_key("a")]) == [text_key("a")]
    store.compact()
    assert store.verify() == []
    assert not store.directory.exists()


def test_get_says_how_many_are_missing_and_what_to_do(store):
    put(store, "a")
    with pytest.raises(StorageError, match=r"2 of 3 vectors .* refresh again"):
        store.get([text_key(w) for w in "abc"])


def test_a_key_keeps_its_first_vector(store):
    put(store, "a")
    store.put([text_key("a"), text_key("b")], np.stack([vector("b"), vector("b")]))
    assert np.array_equal(store.get([text_key("a")])[0], vector("a"))
    assert store.size().vectors == 2


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((1, 3), np.float32), r"shape \(1, 3\) given for 1 keys, wanted \(1, 4\)"),
        (np.zeros((2, 4), np.float32), r"shape \(2, 4\) given for 1 keys"),
        (np.full((1, 4), np.nan, np.float32), "NaN"),
    ],
)
def test_vectors_that_cannot_be_right_are_refused(store, vectors, message):
    with pytest.raises(StorageError, match=message):
        store.put([text_key("a")], vectors)
    assert store.size().segments == 0


def test_models_do_not_mix(tmp_path):
    one, two = (EmbeddingStore(tmp_path, name, DIMENSION) for name in ("one", "two"))
    put(one, "a")
    assert two.missing([text_key("a")]) == [text_key("a")]


def test_keys_ending_in_zero_bytes_are_found(store):
    keys = [bytes([number] * 3 + [0] * 29).hex() for number in range(3)]
    store.put(keys, np.arange(12, dtype=np.float32).reshape(3, 4))
    assert store.missing(keys) == []
    assert store.get(keys[::-1])[:, 0].tolist() == [8, 4, 0]


def test_compaction_merges_and_keeps_everything(store):
    for start in range(0, 40, 4):
        put(store, *WORDS[start : start + 4])
    assert store.size().segments == 10
    reader = EmbeddingStore(store.directory.parent, "model", DIMENSION)
    before = reader.get([KEYS[w] for w in WORDS])
    store.compact()
    assert store.size().segments == 1
    assert np.array_equal(reader.get([KEYS[w] for w in WORDS]), before)
    assert reader.size().segments == 1


def test_many_writes_compact_by_themselves(store):
    for number in range(300):
        put(store, f"word {number}")
    assert store.size().segments < 130
    assert store.missing([text_key(f"word {number}") for number in range(300)]) == []


def test_a_large_segment_is_not_rewritten_for_a_small_one(store):
    put(store, *WORDS[:30])
    [large] = segments(store)
    put(store, *WORDS[30:32])
    put(store, *WORDS[32:34])
    store.compact()
    assert large in segments(store)
    assert store.size().segments == 2


def test_compaction_keeps_the_age_of_a_vector(store):
    put(store, "a")
    put(store, "b")
    later = datetime.now(UTC) + timedelta(days=10)
    store.compact()
    assert store.collect_garbage([text_key("a")], timedelta(days=9), later) == 1
    assert store.missing([text_key(w) for w in "ab"]) == [text_key("b")]


def test_token_vectors_go_with_the_vector_of_their_text(store):
    store.keep_tokens(4)
    keys = [text_key(word) for word in "abc"]
    put(store, *"abc")
    store.tokens.put(keys, [np.full((2, 4), n, np.int8) for n in range(3)])
    assert (store.size().token_matrices, store.tokens.size()[0]) == (3, 3)
    later = datetime.now(UTC) + timedelta(days=10)
    assert store.collect_garbage(keys[:1], timedelta(days=9), later) == 2
    assert store.tokens.missing(keys) == set(keys[1:])
    assert sorted(store.keys()) == keys[:1]


def test_a_truncated_segment_is_set_aside_and_counts_as_missing(store, caplog):
    put(store, "a")
    put(store, "b")
    torn = segments(store)[0]
    os.truncate(torn, torn.stat().st_size - 1)
    fresh = EmbeddingStore(store.directory.parent, "model", DIMENSION)
    assert fresh.missing([text_key("a"), text_key("b")]) == [text_key("a")]
    assert [path.name for path in fresh.damaged] == [f"{torn.name}.damaged"]
    assert "set aside" in caplog.text
    put(fresh, "a")
    assert np.array_equal(fresh.get([text_key("a")])[0], vector("a"))


def test_a_flipped_bit_is_never_returned(store):
    put(store, *WORDS[:5])
    [path] = segments(store)
    flip(path, path.stat().st_size - 1)
    fresh = EmbeddingStore(store.directory.parent, "model", DIMENSION)
    with pytest.raises(StorageError, match=r"1 of 5 vectors .* refresh again"):
        fresh.get([KEYS[w] for w in WORDS[:5]])
    lost = fresh.missing([KEYS[w] for w in WORDS[:5]])
    assert len(lost) == 1
    kept = [w for w in WORDS[:5] if KEYS[w] not in lost]
    assert np.array_equal(fresh.get([KEYS[w] for w in kept]), np.stack([vector(w) for w in kept]))
    assert len(fresh.damaged) == 1


def test_verify_finds_what_opening_does_not(store):
    put(store, *WORDS[:5])
    assert store.verify() == []
    [path] = segments(store)
    flip(path, path.stat().st_size - 1)
    assert [found.name for found in store.verify()] == [f"{path.name}.damaged"]
    assert len(store.missing([KEYS[w] for w in WORDS[:5]])) == 1


def test_another_object_sees_what_one_wrote(tmp_path):
    one, two = (EmbeddingStore(tmp_path, "m", DIMENSION) for _ in range(2))
    for word in WORDS:
        put(one, word)
        assert two.missing([KEYS[word]]) == []


def test_an_unwritable_directory_is_one_clear_error(tmp_path):
    (tmp_path / "model").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot be read \(Not a directory\)"):
        put(EmbeddingStore(tmp_path / "model", "x", DIMENSION), "a")


WRITER = """
import sys
from rag_assets_tests.embedding.test_store import EmbeddingStore, put, DIMENSION
store = EmbeddingStore(sys.argv[1], "m", DIMENSION)
for number in range(40):
    put(store, f"{sys.argv[2]}-{number}", f"shared-{number}")
    if number % 10 == 9:
        store.compact()
"""


def test_processes_write_and_compact_at_once(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in "xyz"
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    store = EmbeddingStore(tmp_path, "m", DIMENSION)
    words = [f"{name}-{n}" for name in ("x", "y", "z", "shared") for n in range(40)]
    found = store.get([text_key(word) for word in words])
    assert np.array_equal(found, np.stack([vector(word) for word in words]))
    assert store.verify() == []
