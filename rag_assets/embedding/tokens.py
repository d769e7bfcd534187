"""Token vectors of passages, kept small: what the rerank compares a question's words with.

A passage's last hidden states, one vector a token, come out of the same forward pass as its
embedding. Three things make them 12 kB a passage of 160 tokens instead of 61 kB of int8, for some
.005 of nDCG@10 (docs/retrieval.md): function words and punctuation are dropped, vectors are
projected onto the 128 directions that hold most of their length, and stored as int8.

The projection of the default model ships with this package, fitted on the sample handbook. The
vectors of other models keep all their dimensions.
"""

import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag_assets.embedding.model_store import ModelFiles
from rag_assets.embedding.tokenising import load_tokenizer
from rag_assets.errors import StorageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_log = logging.getLogger(__name__)

FILE = "tokens-1.sqlite3"  # the number is raised when matrices are made differently
_BATCH = 500  # keys a statement
_PAGE = 16_384  # bytes: most matrices fit one page
_MAP = 1 << 36  # bytes of the file that reads may map into memory
_PROJECTIONS = {"sentence-transformers/all-minilm-l6-v2": "minilm_l6_v2.projection.npy"}

_FUNCTION_WORDS = frozenset(
    """
    a about above after again all also am an and any are as at be because been before being below
    between both but by can could did do does doing down during each few for from further had has
    have having he her here hers him his how i if in into is it its itself just may me might more
    most must my no nor not of off on once only or other our out over own same she should so some
    such than that the their them then there these they this those through to too under until up
    upon us very was we were what when where which while who whom why will with would you your
    """.split()
)


class TokenForm:
    """How the token vectors of one model are made small; the same for passages and queries."""

    def __init__(self, model: ModelFiles) -> None:
        self._files = model

    @cached_property
    def dimension(self) -> int:
        """Length of a stored vector."""
        return self._files.dimension if self._projection is None else self._projection.shape[1]

    def passages(self, texts: Sequence[str], matrices: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Small matrices int8 (tokens, dimension) from the int8 (tokens, model's) of an encoder."""
        prefix = self._files.passage_prefix
        encodings = self._tokenizer.encode_batch_fast([prefix + text for text in texts])
        return [
            self._small(np.array(encoding.ids[1:-1], np.int64), matrix)
            for encoding, matrix in zip(encodings, matrices, strict=True)
        ]

    def query(self, matrix: np.ndarray) -> np.ndarray:
        """Unit vectors float32 (tokens, dimension) of a question's tokens, all of them."""
        return unit_rows(self._projected(matrix))

    def words(self, text: str) -> list[str]:
        """The word of a question that each of its token vectors is a part of."""
        prefix = len(self._files.query_prefix)
        encoding = self._tokenizer.encode(self._files.query_prefix + text)
        spans: dict[int, tuple[int, int]] = {}
        for word, (start, end) in zip(encoding.word_ids, encoding.offsets, strict=True):
            if word is not None:
                first, last = spans.get(word, (start, end))
                spans[word] = (min(first, start), max(last, end))
        whole = {
            word: text[max(a - prefix, 0) : max(b - prefix, 0)] for word, (a, b) in spans.items()
        }
        return [whole[word] for word in encoding.word_ids if word is not None]

    def _small(self, ids: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        kept = matrix
        if len(ids) == len(matrix):
            full = ~self._dropped[ids]
            kept = matrix[full] if full.any() else matrix
        vectors = self._projected(kept)
        largest = np.abs(vectors).max(axis=1, keepdims=True, initial=1e-12)
        return np.rint(vectors * (127 / largest)).astype(np.int8)

    def _projected(self, matrix: np.ndarray) -> np.ndarray:
        vectors = matrix.astype(np.float32)
        return vectors if self._projection is None else vectors @ self._projection

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        tokenizer = load_tokenizer(self._files)
        tokenizer.enable_truncation(self._files.max_tokens)
        return tokenizer

    @cached_property
    def _dropped(self) -> np.ndarray:
        """Token ids that say nothing by themselves: bool (vocabulary,)."""
        vocabulary = self._tokenizer.get_vocab()
        dropped = np.zeros(max(vocabulary.values()) + 1, bool)
        for token, number in vocabulary.items():
            letters = any(character.isalnum() for character in token.removeprefix("##"))
            dropped[number] = not letters or token in _FUNCTION_WORDS
        return dropped

    @cached_property
    def _projection(self) -> np.ndarray | None:
        name = (
            self._files.name
            if "/" in self._files.name
            else f"sentence-transformers/{self._files.name}"
        )
        shipped = _PROJECTIONS.get(name.lower())
        if shipped is None:
            return None
        with (files(__package__) / shipped).open("rb") as file:
            return np.asarray(np.load(file), np.float32)


class TokenStore:
    """Token matrices of one model by text key, in one SQLite file shared by threads and processes.

    A matrix that is missing is no error: its passage is ranked without it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.dimension = int(connection.execute("PRAGMA user_version").fetchone()[0])
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def create(cls, directory: Path, dimension: int) -> "TokenStore":
        """The store in `directory`, made if there is none.

        Raises: StorageError when it cannot be written.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(directory / FILE, timeout=60)) as connection:
                connection.execute(f"PRAGMA page_size = {_PAGE}")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS tokens (key BLOB UNIQUE, matrix BLOB)"
                )
                connection.execute(f"PRAGMA user_version = {dimension}")
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"{directory / FILE}: cannot be written ({error})") from error
        return cls._opened(directory / FILE)

    @classmethod
    def find(cls, directory: Path) -> "TokenStore | None":
        """The store in `directory`; None where token vectors are not kept, or are damaged.

        A damaged file is set aside: everything in it can be computed again.
        """
        path = directory / FILE
        if not path.is_file():
            return None
        try:
            return cls._opened(path)
        except StorageError as error:
            _log.warning("%s; set aside, its token vectors will be computed again", error)
            path.replace(path.with_name(f"{FILE}.damaged"))
            return None

    @classmethod
    def _opened(cls, path: Path) -> "TokenStore":
        try:
            connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
            connection.execute(f"PRAGMA mmap_size = {_MAP}")
            return cls(path, connection)
        except sqlite3.Error as error:
            raise StorageError(f"{path}: cannot be opened ({error})") from error

    def missing(self, keys: Sequence[str]) -> set[str]:
        """The keys without a matrix."""
        found: set[str] = set()
        for some in _batches(keys):
            sql = f"SELECT lower(hex(key)) FROM tokens WHERE key IN ({_marks(some)})"
            found.update(row[0] for row in self._rows(sql, _binary(some)))
        return set(keys) - found

    def put(self, keys: Sequence[str], matrices: Sequence[np.ndarray]) -> None:
        """Store matrices int8 (tokens, dimension); known keys keep theirs. Durable on return."""
        rows = [
            (bytes.fromhex(key), np.ascontiguousarray(matrix).tobytes())
            for key, matrix in zip(keys, matrices, strict=True)
        ]
        with self._writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO tokens VALUES (?, ?)", rows)

    def get(self, keys: Sequence[str]) -> list[np.ndarray | None]:
        """The matrix int8 (tokens, dimension) of each key, or None."""
        found: dict[str, bytes] = {}
        for some in _batches(keys):
            sql = f"SELECT lower(hex(key)), matrix FROM tokens WHERE key IN ({_marks(some)})"
            found.update(self._rows(sql, _binary(some)))
        return [
            np.frombuffer(found[key], np.int8).reshape(-1, self.dimension) if key in found else None
            for key in keys
        ]

    def keep_only(self, keys: Iterable[str]) -> int:
        """Drop every other matrix; returns how many."""
        with self._writing() as connection:
            connection.execute("CREATE TEMP TABLE kept (key BLOB PRIMARY KEY)")
            connection.executemany(
                "INSERT OR IGNORE INTO kept VALUES (?)", ((bytes.fromhex(key),) for key in keys)
            )
            sql = "DELETE FROM tokens WHERE key NOT IN (SELECT key FROM kept)"
            dropped = connection.execute(sql).rowcount
            connection.execute("DROP TABLE kept")
        return dropped

    def vacuum(self) -> None:
        """Write the file anew, so that nothing of dropped matrices is left in it."""
        try:
            with self._lock:
                self._connection.execute("VACUUM")
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: cannot be written ({error})") from error

    def size(self) -> tuple[int, int]:
        """(matrices, bytes on disk)."""
        [(count,)] = self._rows("SELECT count(*) FROM tokens", [])
        return int(count), self.path.stat().st_size

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def remove(self) -> None:
        """Close and delete the store; it is made again when token vectors are wanted again."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _rows(self, sql: str, values: Sequence[bytes]) -> list[tuple]:
        try:
            with self._lock:
                return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: cannot be read ({error})") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock, self._connection:
                yield self._connection
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: cannot be written ({error})") from error


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1: float32."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def _batches(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(keys), _BATCH):
        yield keys[start : start + _BATCH]


def _marks(keys: Sequence[str]) -> str:
    return ", ".join("?" * len(keys))


def _binary(keys: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(key) for key in keys]
