"""The remote encoder: a service's embedding model through litellm.

One request at a time, each written through before the next is sent, so that a kill pays for at
most one batch twice. There is no fallback: vectors of another model would be another space.
"""

import copy
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding.base import Batch, OnBatch, gathered
from rag_assets.embedding.batching import distinct
from rag_assets.embedding.reference_tokenizer import reference_tokenizer
from rag_assets.embedding.services import (
    load_litellm,
    service_fingerprint,
    service_model,
)
from rag_assets.errors import ConfigError, Held, LlmError

_BATCH_TEXTS = 100
_BATCH_TOKENS = 100_000  # of the 300,000 that OpenAI takes in one request
_ATTEMPTS = 6
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds
_TIMEOUT = 60.0
_TEMPORARY = {408, 409, 425, 429, 500, 502, 503, 504}

Pause = Callable[[float], None]
Limit = Callable[[float], str | None]
Spent = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True)
class Reply:
    """Vectors float32 (n, dim), L2-normalised, and the tokens the service counted, if it did."""

    vectors: np.ndarray
    tokens: int | None


class Pacer:
    """Waits so that no 60 seconds see more requests or tokens than allowed."""

    def __init__(
        self,
        requests: int | None,
        tokens: int | None,
        clock: Callable[[], float] = time.monotonic,
        pause: Pause = time.sleep,
    ) -> None:
        self._requests, self._tokens = requests, tokens
        self._clock, self._pause = clock, pause
        self._sent: deque[tuple[float, int]] = deque()

    def admit(self, tokens: int) -> None:
        """Return when so many tokens may be sent; a request too large for a minute goes alone."""
        while self._sent and not self._fits(tokens):
            self._pause(max(0.0, self._sent[0][0] + 60 - self._clock()))
            self._forget()
        self._sent.append((self._clock(), tokens))

    def _fits(self, tokens: int) -> bool:
        self._forget()
        if self._requests is not None and len(self._sent) >= self._requests:
            return False
        return self._tokens is None or sum(n for _, n in self._sent) + tokens <= self._tokens

    def _forget(self) -> None:
        while self._sent and self._sent[0][0] + 60 <= self._clock():
            self._sent.popleft()


class Service:
    """Requests to one embedding service, repeated when it is worth repeating."""

    def __init__(self, config: EmbeddingConfig, pause: Pause = time.sleep) -> None:
        self._config = config
        self._pause = pause

    def vectors(self, texts: Sequence[str]) -> Reply:
        """The vectors of at most 100 texts.

        Raises: LlmError when the service refuses, or still fails after six attempts.
        """
        from openai import OpenAIError  # litellm's errors derive from it

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._reply(self._request(texts), len(texts))
            except OpenAIError as error:
                status = getattr(error, "status_code", None)
                temporary = status is None or status in _TEMPORARY
                if not temporary or attempt == _ATTEMPTS:
                    raise self._failed(error, attempt) from error
                self._pause(_pause_after(error, attempt))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _request(self, texts: Sequence[str]) -> Any:
        config = self._config
        chosen: dict[str, Any] = {
            "api_base": config.api_base,
            "api_key": config.api_key,
        }
        if config.dimensions is not None:
            # litellm sends it for the names it knows only, unless told that it is meant
            chosen |= {"dimensions": config.dimensions, "allowed_openai_params": ["dimensions"]}
        return load_litellm().embedding(
            model=config.model,
            input=[text or " " for text in texts],  # services refuse an empty input
            encoding_format="float",
            timeout=_TIMEOUT,
            num_retries=0,  # repeating is decided here, once
            **{name: value for name, value in chosen.items() if value is not None},
        )

    def _reply(self, response: Any, wanted: int) -> Reply:
        rows = sorted(response.data, key=lambda row: row["index"])
        if [row["index"] for row in rows] != list(range(wanted)):
            raise LlmError(
                f"embedding.model {self._config.model!r}: {len(rows)} vectors came back for"
                f" {wanted} texts; check that embedding.api_base is an embeddings endpoint."
            )
        vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or not lengths.all():
            raise LlmError(
                f"embedding.model {self._config.model!r}: a vector of length"
                f" {float(lengths.min())} came back, a finite one is wanted; check the service."
            )
        usage = getattr(response, "usage", None)
        return Reply(vectors / lengths, getattr(usage, "prompt_tokens", None) or None)

    def _failed(self, error: Exception, attempts: int) -> LlmError:
        reason = " ".join(str(error).split())[:300]
        return LlmError(
            f"embedding.model {self._config.model!r}: the service failed after {attempts}"
            f" attempt{'s' * (attempts > 1)}: {reason}. What was embedded is kept; check the key,"
            " embedding.api_base and the service's status, then refresh again."
        )


def _pause_after(error: Exception, attempt: int) -> float:
    """Seconds to wait: what the service asks for, else doubling with up to a half at random."""
    headers = getattr(error, "litellm_response_headers", None) or {}
    asked = str(headers.get("retry-after", ""))
    if asked.isdecimal():
        return min(float(asked), _LONGEST_PAUSE)
    return min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE) * random.uniform(1, 1.5)


class RemoteEncoder:
    """An `Encoder` over a service; see `base.Encoder` for what the methods promise."""

    def __init__(self, config: EmbeddingConfig, pause: Pause = time.sleep) -> None:
        model = service_model(config)
        if config.budget_usd is not None and model.usd_per_token is None:
            raise ConfigError(
                f"embedding.budget_usd: the price of {config.model!r} is not known; set"
                " embedding.usd_per_million_tokens too."
            )
        self.fingerprint = service_fingerprint(config)
        self.name = config.model
        self.dimension = model.dimension
        self.max_tokens = model.max_tokens
        self.provider = config.model.partition("/")[0]
        self._price = model.usd_per_token or 0.0
        self._budget = config.budget_usd
        self._service = Service(config, pause)
        self._pacer = Pacer(config.requests_per_minute, config.tokens_per_minute, pause=pause)
        self._tokenizer = reference_tokenizer()
        self._limit: Limit | None = None
        self._spent: Spent | None = None

    @property
    def price(self) -> float:
        """US dollars a token; 0 where it is not known."""
        return self._price

    def accounted(self, limit: "Limit | None", spent: "Spent | None") -> "RemoteEncoder":
        """The same encoder under a limit beside its own, telling what it spends.

        limit: given US dollars about to be spent, why they must not be, or None.
        spent: called after each request with its texts, tokens and US dollars.
        """
        other = copy.copy(self)
        other._limit, other._spent = limit, spent
        return other

    def admit(self, texts: Iterable[str]) -> None:
        """Raises: Held when embedding these texts would cost more than the budget."""
        if self._budget is None and self._limit is None:
            return
        counts = [min(n, self.max_tokens) for n in self._counts(texts)]
        cost = sum(counts) * self._price
        if self._limit is not None and (why := self._limit(cost)):
            raise Held(f"embedding {len(counts):,} texts with {self.name}: {why}")
        if self._budget is not None and cost > self._budget:
            raise Held(
                f"embedding {len(counts):,} texts ({sum(counts):,} tokens) with {self.name} would"
                f" cost about ${cost:.4f}, embedding.budget_usd is ${self._budget:.4f}; nothing was"
                " sent. Raise the budget to go on."
            )

    def batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        """Vectors of passages as they come back, at most 100 texts a request."""
        different, positions = distinct(texts)
        spent = 0.0
        for indices, counted in self._requests(different):
            self._check_budget(spent, counted)
            self._pacer.admit(counted)
            reply = self._sent([different[index] for index in indices])
            tokens = counted if reply.tokens is None else reply.tokens
            spent += tokens * self._price
            if self._spent is not None:
                self._spent(len(indices), tokens, tokens * self._price)
            places = [place for index in indices for place in positions[index]]
            rows = [row for row, index in enumerate(indices) for _ in positions[index]]
            yield Batch(places, reply.vectors[rows], tokens, tokens * self._price)

    def encode(self, texts: Sequence[str], on_batch: OnBatch | None = None) -> np.ndarray:
        """Vectors of passages: float32 (n, dim), L2-normalised, in the order given."""
        return gathered(self.batches(texts), (len(texts), self.dimension), on_batch)

    def encode_query(self, text: str) -> np.ndarray:
        """The vector of one query: float32 (dim,), L2-normalised."""
        return self.encode([text])[0]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text by OpenAI's cl100k vocabulary, which other services come close to."""
        return list(self._counts(texts))

    def _counts(self, texts: Iterable[str]) -> Iterator[int]:
        remaining = iter(texts)
        while some := list(islice(remaining, _BATCH_TEXTS)):
            for encoding in self._tokenizer.encode_batch_fast(some, add_special_tokens=False):
                yield len(encoding)

    def _requests(self, texts: Sequence[str]) -> Iterator[tuple[list[int], int]]:
        """Indices of each request's texts, and their tokens."""
        indices: list[int] = []
        tokens = 0
        for start in range(0, len(texts), _BATCH_TEXTS):
            counts = self.count_tokens(texts[start : start + _BATCH_TEXTS])
            for index, count in enumerate(counts, start):
                count = min(count, self.max_tokens)
                if indices and (len(indices) == _BATCH_TEXTS or tokens + count > _BATCH_TOKENS):
                    yield indices, tokens
                    indices, tokens = [], 0
                indices.append(index)
                tokens += count
        if indices:
            yield indices, tokens

    def _check_budget(self, spent: float, tokens: int) -> None:
        """Raises: Held when the next request would go over a budget."""
        if self._limit is not None and (why := self._limit(spent + tokens * self._price)):
            raise Held(f"embedding with {self.name}: {why} What was embedded is kept.")
        if self._budget is not None and spent + tokens * self._price > self._budget:
            raise Held(
                f"embedding with {self.name} has cost ${spent:.4f}, the next request would pass"
                f" embedding.budget_usd, ${self._budget:.4f}; what was embedded is kept. Raise the"
                " budget to go on."
            )

    def _sent(self, texts: Sequence[str]) -> Reply:
        reply = self._service.vectors([self._cut(text) for text in texts])
        if reply.vectors.shape[1] != self.dimension:
            raise LlmError(
                f"embedding.model {self.name!r}: vectors of {reply.vectors.shape[1]} dimensions"
                f" came back, wanted {self.dimension}; check embedding.dimensions and the service."
            )
        return reply

    def _cut(self, text: str) -> str:
        """The text, cut where the model's limit of tokens is reached."""
        if len(text.encode()) <= self.max_tokens:  # a token has at least one byte
            return text
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        if len(encoding.ids) <= self.max_tokens:
            return text
        return text[: encoding.offsets[self.max_tokens][0]]
