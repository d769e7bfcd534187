"""The public face: search and ask one knowledge base, always from exactly one index version."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, cast, overload

from rag_assets.config import (
    KnowledgeBaseConfig,
    RetrievalConfig,
    Weights,
    find_config,
    load_config,
)
from rag_assets.costs import Budget, Entry, Ledger, charged_to
from rag_assets.costs.ledger import now
from rag_assets.errors import BadRequest
from rag_assets.retrieval.base import Hit, Mode, SearchRequest

if TYPE_CHECKING:
    from rag_assets.answering.answer import Answerer
    from rag_assets.answering.base import Answer, AnswerPart
    from rag_assets.embedding.base import Encoder
    from rag_assets.index.live import LiveIndex
    from rag_assets.retrieval.aids import Aids


@dataclass(frozen=True, slots=True)
class SearchResult(Sequence[Hit]):
    """The hits of a search, best first, and the index version that they are from."""

    hits: tuple[Hit, ...]
    index_version: int
    milliseconds: float = 0.0

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, place: int) -> Hit: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, place: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[place]


class KnowledgeBase:
    """One knowledge base, open for searching and asking from any number of threads.

    A promotion or rollback is picked up by the next call; one call sees exactly one version.

        with KnowledgeBase.open("knowledge_base.yaml") as kb:
            kb.search("how many vacation days?", where={"team": "hr"})
            kb.answer("how many vacation days?").text
    """

    def __init__(self, config: KnowledgeBaseConfig) -> None:
        self.config = config

    @classmethod
    def open(cls, path: str | PathLike[str] | None = None) -> "KnowledgeBase":
        """The knowledge base of a configuration file: `path`, $RAG_CONFIG, ./knowledge_base.yaml.

        Raises: ConfigError. Models and indexes are opened by the first call that needs them.
        """
        return cls(load_config(path))

    def search(
        self,
        query: str,
        k: int | None = None,
        where: Mapping[str, object] | None = None,
        groups: Sequence[str] | None = None,
        version: int | None = None,
        mode: Mode | None = None,
        explain: bool = False,
        weights: Mapping[str, float] | None = None,
        category: str | None = None,
    ) -> SearchResult:
        """The k best passages for a query.

        where: a filter in Chroma's language. groups: those of the asker, which only narrow; None is
        a trusted caller. version: an index version instead of the live one. weights: of single
        signals, laid over `retrieval.weights`. category: documents of it are preferred. explain:
        also what each leg makes of the hits that only the other one found; every hit has `signals`
        and `parts` in any case.

        Raises: BadRequest, IndexNotReady, IndexMismatch.
        """
        from rag_assets.retrieval.search import search

        request = SearchRequest(
            query,
            self.config.retrieval.k if k is None else k,
            where,
            groups,
            mode,
            category,
            settings=_weighted(self.config.retrieval, weights),
            trust=self._trust,
            explain=explain,
        )
        start = time.perf_counter()
        with self._index.read(version) as opened:
            hits = search(opened, self._encoder, request, self._aids)
            number = opened.manifest.version
        return SearchResult(tuple(hits), number, (time.perf_counter() - start) * 1000)

    @overload
    def answer(
        self,
        question: str,
        k: int | None = None,
        where: Mapping[str, object] | None = None,
        groups: Sequence[str] | None = None,
        version: int | None = None,
        mode: Mode | None = None,
        stream: Literal[False] = False,
    ) -> "Answer": ...
    @overload
    def answer(
        self,
        question: str,
        k: int | None = None,
        where: Mapping[str, object] | None = None,
        groups: Sequence[str] | None = None,
        version: int | None = None,
        mode: Mode | None = None,
        *,
        stream: Literal[True],
    ) -> "Iterator[AnswerPart]": ...
    def answer(
        self,
        question: str,
        k: int | None = None,
        where: Mapping[str, object] | None = None,
        groups: Sequence[str] | None = None,
        version: int | None = None,
        mode: Mode | None = None,
        stream: bool = False,
    ) -> "Answer | Iterator[AnswerPart]":
        """A cited answer; with `stream`, an iterator of its parts, the last with the answer.

        Arguments as for `search`. Raises: what `search` raises, LlmError.
        """
        found = self.search(question, k, where, groups, version, mode)
        if stream:
            parts = self._answerer.stream(question, found, found.index_version)
            return (self._timed_part(part, found) for part in parts)
        return self._timed(self._answerer.answer(question, found, found.index_version), found)

    async def aanswer(
        self,
        question: str,
        k: int | None = None,
        where: Mapping[str, object] | None = None,
        groups: Sequence[str] | None = None,
        version: int | None = None,
        mode: Mode | None = None,
    ) -> "Answer":
        """`answer`, without blocking the event loop."""
        arguments = (question, k, where, groups, version, mode)
        found = await asyncio.to_thread(self.search, *arguments)
        answer = await self._answerer.aanswer(question, found, found.index_version)
        return self._timed(answer, found)

    async def astream(
        self,
        question: str,
        k: int | None = None,
        where: Mapping[str, object] | None = None,
        groups: Sequence[str] | None = None,
        version: int | None = None,
        mode: Mode | None = None,
    ) -> "AsyncIterator[AnswerPart]":
        """`answer(stream=True)`, without blocking the event loop."""
        arguments = (question, k, where, groups, version, mode)
        found = await asyncio.to_thread(self.search, *arguments)
        async for part in self._answerer.astream(question, found, found.index_version):
            yield self._timed_part(part, found)

    def _timed(self, answer: "Answer", found: SearchResult) -> "Answer":
        """The answer with the time of its search, and in the ledger."""
        model, usage = answer.model, answer.usage
        if usage.total_tokens:
            self.ledger.add(
                Entry(
                    now(),
                    "answer",
                    model,
                    charged_to.get(),
                    tokens=usage.prompt_tokens,
                    completion_tokens=usage.completion_tokens,
                    usd=answer.cost_usd,
                )
            )
        return replace(answer, timings={"search": found.milliseconds, **answer.timings})

    def _timed_part(self, part: "AnswerPart", found: SearchResult) -> "AnswerPart":
        if part.answer is None:
            return part
        return replace(part, answer=self._timed(part.answer, found))

    @cached_property
    def ledger(self) -> "Ledger":
        """What was paid."""
        return Ledger(self.config.storage)

    def close(self) -> None:
        """Close the index; calls that are still running finish first."""
        self._index.close()

    def __enter__(self) -> "KnowledgeBase":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @cached_property
    def _trust(self) -> dict[str, float]:
        return {source.name: source.trust for source in self.config.sources}

    @cached_property
    def _aids(self) -> "Aids":
        from rag_assets.answering.search_aids import open_aids

        return open_aids(self.config)

    @cached_property
    def _index(self) -> "LiveIndex":
        from rag_assets.index.live import LiveIndex

        return LiveIndex(self.config.storage)

    @cached_property
    def _encoder(self) -> "Encoder":
        from rag_assets.embedding import open_encoder, price_per_token

        encoder = open_encoder(self.config.embedding)
        if not price_per_token(self.config.embedding):
            return encoder
        from rag_assets.embedding.remote import RemoteEncoder

        return (
            encoder.accounted(None, self._asked) if isinstance(encoder, RemoteEncoder) else encoder
        )

    def _asked(self, texts: int, tokens: int, usd: float) -> None:
        """Queries are counted and not stopped: an empty budget must not end all searching."""
        model = self.config.embedding.model
        self.ledger.add(Entry(now(), "query", model, charged_to.get(), texts, tokens, 0, usd))

    @cached_property
    def _answerer(self) -> "Answerer":
        from rag_assets.answering.answer import Answerer

        refusal = None
        if self.config.costs.budget_usd is not None:
            refusal = Budget(self.config.costs, self.ledger).refusal
        return Answerer(self.config.llm, self._encoder.encode, refusal)


def search(query: str, **options: object) -> SearchResult:
    """`KnowledgeBase.search` on the default knowledge base."""
    return _default().search(query, **options)  # type: ignore[arg-type]


def answer(question: str, **options: object) -> "Answer | Iterator[AnswerPart]":
    """`KnowledgeBase.answer` on the default knowledge base."""
    return cast("Answer", _default().answer(question, **options))  # type: ignore[call-overload]


def _weighted(settings: RetrievalConfig, weights: Mapping[str, float] | None) -> RetrievalConfig:
    """The settings with some weights replaced. Raises: BadRequest."""
    if not weights:
        return settings
    try:
        every = Weights.model_validate({**settings.weights.model_dump(), **weights})
    except ValueError as error:
        known = ", ".join(Weights.model_fields)
        raise BadRequest(
            f"weights: expected numbers from -10 to 10 for any of {known}, found {dict(weights)!r}"
        ) from error
    return settings.model_copy(update={"weights": every})


def _default() -> KnowledgeBase:
    return _opened(find_config())


@cache
def _opened(path: Path) -> KnowledgeBase:
    return KnowledgeBase.open(path)
