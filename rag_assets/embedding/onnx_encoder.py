"""The local encoder: length-sorted batches through an onnxruntime session."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

import numpy as np

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import model_store
from rag_assets.embedding.base import Batch, OnBatch, gathered
from rag_assets.embedding.batching import distinct, padded, plan_batches
from rag_assets.embedding.session import open_session
from rag_assets.embedding.tokenising import TokenIds
from rag_assets.embedding.tokens import TokenForm
from rag_assets.errors import ConfigError

# Texts tokenised and sorted together. The first lot is small so that inference starts at once; at
# the second size sorting leaves under 1 % padding and the token ids take at most 16 MB.
_FIRST_WINDOW, _WINDOW = 512, 16384


class OnnxEncoder:
    """An `Encoder` over a local model; see `base.Encoder` for what the methods promise."""

    def __init__(self, config: EmbeddingConfig) -> None:
        self._files = model_store.find_model(config.model)
        self.fingerprint = model_store.fingerprint(self._files, config.precision)
        self.name = self._files.name
        self.dimension = self._files.dimension
        self.max_tokens = self._files.max_tokens
        self._tokens = TokenIds(self._files)
        self._open = open_session(self._files, config)
        self.provider = self._open.provider

    @cached_property
    def token_form(self) -> TokenForm | None:
        """How this model's token vectors are kept; None when its graph does not show them."""
        return TokenForm(self._files) if len(self._open.session.get_outputs()) > 1 else None

    def admit(self, texts: Iterable[str]) -> None:
        """Nothing to hold: a local model costs nothing."""

    def batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        """Vectors of passages as they finish, longest texts first within a window."""
        return self._computed(texts, with_tokens=False)

    def batches_with_tokens(self, texts: Sequence[str]) -> Iterator[Batch]:
        """As `batches`, each with the token vectors of its texts from the same forward pass.

        Raises: ConfigError for a model whose exported graph does not show its token vectors.
        """
        if len(self._open.session.get_outputs()) < 2:
            raise ConfigError(
                f"embedding.model {self.name!r}: its model.onnx gives finished sentence vectors"
                " only; use a model with model.safetensors, or one whose first output are token"
                " vectors."
            )
        return self._computed(texts, with_tokens=True)

    def encode(self, texts: Sequence[str], on_batch: OnBatch | None = None) -> np.ndarray:
        """Vectors of passages: float32 (n, dim), L2-normalised, in the order given."""
        return gathered(self.batches(texts), (len(texts), self.dimension), on_batch)

    def encode_with_tokens(self, texts: Sequence[str]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Vectors float32 (n, dim), and of each text its token vectors int8 (tokens, dim).

        Special tokens are left out. An int8 vector keeps the direction of its token's vector, not
        its length: divide by its norm before a dot product.
        """
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        tokens: list[np.ndarray] = [np.empty((0, self.dimension), np.int8)] * len(texts)
        for batch in self.batches_with_tokens(texts):
            vectors[batch.positions] = batch.vectors
            for position, matrix in zip(batch.positions, batch.token_vectors or (), strict=True):
                tokens[position] = matrix
        return vectors, tokens

    def encode_query(self, text: str) -> np.ndarray:
        """The vector of one query: float32 (dim,), L2-normalised."""
        return self._run(self._tokens.ids([self._files.query_prefix + text]), False)[0][0]

    def encode_query_with_tokens(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The vector (dim,) of one query and its token vectors int8 (tokens, dim)."""
        ids = self._tokens.ids([self._files.query_prefix + text])
        vectors, [tokens] = self._run(ids, True)
        return vectors[0], tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, uncut and without special tokens."""
        return self._tokens.count(texts)

    def _computed(self, texts: Sequence[str], with_tokens: bool) -> Iterator[Batch]:
        """Batches in the order they were planned; as many under way as there are callers."""
        different, positions = distinct(texts)
        under_way: deque[tuple[list[int], list[np.ndarray], Future[_Output]]] = deque()

        def oldest() -> Batch:
            indices, ids, future = under_way.popleft()
            vectors, matrices = future.result()
            places = [place for index in indices for place in positions[index]]
            rows = [row for row, index in enumerate(indices) for _ in positions[index]]
            spread = [matrices[row] for row in rows] if with_tokens else None
            return Batch(places, vectors[rows], sum(map(len, ids)), token_vectors=spread)

        with ThreadPoolExecutor(self._open.callers, "encode") as callers:
            for indices, ids in self._token_batches(different):
                under_way.append((indices, ids, callers.submit(self._run, ids, with_tokens)))
                if len(under_way) > 2 * self._open.callers:
                    yield oldest()
            while under_way:
                yield oldest()

    def _token_batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """Indices and token ids of each batch; the next window is tokenised during inference."""
        starts = [0, *range(_FIRST_WINDOW, len(texts), _WINDOW)]
        ends = [*starts[1:], len(texts)]
        prefix = self._files.passage_prefix

        def tokenised(start: int, end: int) -> list[np.ndarray]:
            return self._tokens.ids([prefix + text for text in texts[start:end]])

        if not texts:
            return
        with ThreadPoolExecutor(1, "tokenise") as ahead:
            coming = ahead.submit(tokenised, starts[0], ends[0])
            for number, start in enumerate(starts):
                ids = coming.result()
                if number + 1 < len(starts):
                    coming = ahead.submit(tokenised, starts[number + 1], ends[number + 1])
                lengths = [len(row) for row in ids]
                for batch in plan_batches(lengths, self._budget(sum(lengths))):
                    yield [start + index for index in batch], [ids[index] for index in batch]

    def _budget(self, tokens: int) -> int:
        """Tokens a batch: less than usual where there would not be a batch for every caller."""
        return min(self._open.token_budget, max(32, -(-tokens // self._open.callers)))

    def _run(self, ids: Sequence[np.ndarray], with_tokens: bool) -> "_Output":
        tokens, mask = padded(ids)
        feed = {"input_ids": tokens, "attention_mask": mask}
        if not with_tokens:
            [vectors] = self._open.session.run(["sentence_embedding"], feed)
            return vectors, []
        wanted = ["sentence_embedding", "token_embeddings"]
        vectors, matrices = self._open.session.run(wanted, feed)
        return vectors, [
            _directions(matrix[1 : len(row) - 1]) for matrix, row in zip(matrices, ids, strict=True)
        ]


_Output = tuple[np.ndarray, list[np.ndarray]]


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Token vectors (tokens, dim) as int8, each scaled so that its largest entry is 127."""
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=1e-12)
    return np.rint(vectors * (127 / largest)).astype(np.int8)
