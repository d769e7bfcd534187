"""The public face: search and ask one knowledge base, always from exactly one index version."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import cache, cached_property
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, cast, overload

from rag_assets.config import (
    KnowledgeBaseConfig,
    LlmConfig,
    RetrievalConfig,
    Weights,
    find_config,
    load_config,
)
from rag_assets.costs import Entry, Ledger, Purse, charged_to
from rag_assets.costs.ledger import now
from rag_assets.errors import BadRequest
from rag_assets.retrieval.base import MAX_K, Hit, Mode, SearchRequest

if TYPE_CHECKING:
    from rag_assets.answering.answer import Answerer
    from rag_assets.answering.base import Answer, AnswerPart
    from rag_assets.answering.condense import Condenser, Standalone, Turn
    from rag_assets.answering.confidence import Calibration
    from rag_assets.embedding.base import Encoder
    from rag_assets.index.live import LiveIndex
    from rag_assets.mirror import Follower
    from rag_assets.retrieval.aids import Aids

_SPARE = 3  # passages looked at for an answer, for each that is used


class SearchOptions(TypedDict, total=False):
    """How to search; what is missing or None is as the knowledge base's configuration says."""

    k: int | None
    where: Mapping[str, object] | None
    groups: Sequence[str] | None
    version: int | None
    mode: Mode | None
    weights: Mapping[str, float] | None
    category: str | None


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
        # Called when another machine published something, where storage is in an object store.
        self.on_pull: Callable[[], object] = lambda: None
        self._calibrated: tuple[tuple[int, int], Calibration] | None = None

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
            settings=_weighted(self.config.retrieval, weights, category),
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
        *,
        stream: Literal[False] = False,
        history: "Sequence[Turn]" = (),
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> "Answer": ...
    @overload
    def answer(
        self,
        question: str,
        *,
        stream: Literal[True],
        history: "Sequence[Turn]" = (),
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> "Iterator[AnswerPart]": ...
    def answer(
        self,
        question: str,
        *,
        stream: bool = False,
        history: "Sequence[Turn]" = (),
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> "Answer | Iterator[AnswerPart]":
        """A cited answer; with `stream`, an iterator of its parts, the last with the answer.

        The first part of a stream names the passages used, before any text.

        history: the conversation so far, `{"role": "user" or "assistant", "content": …}`, for a
        follow-up question. explain: name every passage that was used, with its scores. options: as
        for `search`. Raises: what `search` raises, LlmError.
        """
        asked = self._condenser.standalone(question, history)
        found = self._found(asked.question, options)
        arguments = self._arguments(asked, found, options)
        finish = _Finish(question, asked, found, explain)
        if stream:
            return (finish.part(part) for part in self._answerer.stream(*arguments))
        return finish.answer(self._answerer.answer(*arguments))

    async def aanswer(
        self,
        question: str,
        *,
        history: "Sequence[Turn]" = (),
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> "Answer":
        """`answer`, without blocking the event loop."""
        asked, found = await self._afound(question, history, options)
        arguments = await asyncio.to_thread(self._arguments, asked, found, options)
        finish = _Finish(question, asked, found, explain)
        return finish.answer(await self._answerer.aanswer(*arguments))

    async def astream(
        self,
        question: str,
        *,
        history: "Sequence[Turn]" = (),
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> "AsyncGenerator[AnswerPart, None]":
        """`answer(stream=True)`, without blocking the event loop."""
        asked, found = await self._afound(question, history, options)
        arguments = await asyncio.to_thread(self._arguments, asked, found, options)
        finish = _Finish(question, asked, found, explain)
        async with aclosing(self._answerer.astream(*arguments)) as parts:
            async for part in parts:
                yield finish.part(part)

    def answering_with(self, llm: LlmConfig) -> "KnowledgeBase":
        """The same knowledge base with another model to write its answers; its index, its encoder
        and its ledger are those of this one, which stays the one to close."""
        other = KnowledgeBase(self.config.model_copy(update={"llm": llm}))
        for name in ("_index", "_follower", "_encoder", "_aids", "ledger"):
            other.__dict__[name] = getattr(self, name)
        return other

    @property
    def prompt_version(self) -> str:
        """Of the instructions that answers are written by."""
        return self._answerer.prompt_version

    def _found(self, question: str, options: SearchOptions) -> SearchResult:
        """More passages than are wanted, so that near copies can be left out."""
        more = SearchOptions(**options)
        more["k"] = passages_for_answer(self._wanted(options))
        return self.search(question, **more)

    async def _afound(
        self, question: str, history: "Sequence[Turn]", options: SearchOptions
    ) -> "tuple[Standalone, SearchResult]":
        asked = await self._condenser.astandalone(question, history)
        return asked, await asyncio.to_thread(self._found, asked.question, options)

    def _wanted(self, options: SearchOptions) -> int:
        k = options.get("k")
        return self.config.retrieval.k if k is None else k

    def _arguments(
        self, asked: "Standalone", found: SearchResult, options: SearchOptions
    ) -> "tuple[str, SearchResult, int, int, Calibration]":
        """What the answerer is called with."""
        version = found.index_version
        return (asked.question, found, version, self._wanted(options), self._calibration(version))

    @cached_property
    def ledger(self) -> Ledger:
        """What was paid."""
        return Ledger(self.config.storage)

    @cached_property
    def purse(self) -> Purse:
        """What language models are paid from."""
        return Purse.of(self.config.costs, self.ledger)

    def close(self) -> None:
        """Close the index; calls that are still running finish first."""
        self._index.close()
        if self._follower is not None:
            self._follower.stop()

    def __enter__(self) -> "KnowledgeBase":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _calibration(self, version: int) -> "Calibration":
        """What was learnt for a version like this one; its file is read again when it changes."""
        from rag_assets.answering.calibration import load, path_of
        from rag_assets.answering.confidence import UNCALIBRATED, recipe_of

        try:
            stamp = (version, path_of(self.config.storage).stat().st_mtime_ns)
        except OSError:
            return UNCALIBRATED
        if self._calibrated is None or self._calibrated[0] != stamp:
            with self._index.read(version) as opened:
                manifest = opened.manifest
            learnt = load(self.config.storage)
            recipe = recipe_of(self.config, manifest.model)
            holds = learnt is not None and learnt.fits(recipe, manifest.chunks)
            share = self.config.llm.answer_share
            self._calibrated = (stamp, learnt.at(share) if learnt and holds else UNCALIBRATED)
        return self._calibrated[1]

    @cached_property
    def _trust(self) -> dict[str, float]:
        return {source.name: source.trust for source in self.config.sources}

    @cached_property
    def _aids(self) -> "Aids":
        from rag_assets.answering.search_aids import open_aids

        return open_aids(self.config, self.purse)

    @cached_property
    def _index(self) -> "LiveIndex":
        from rag_assets.index.live import LiveIndex

        if self._follower is not None:
            self._follower.start()
        return LiveIndex(self.config.storage)

    @cached_property
    def _follower(self) -> "Follower | None":
        """Who brings the index here, where storage is in an object store."""
        if not self.config.remote:
            return None
        from rag_assets.mirror import Follower, mirror_of

        mirror = mirror_of(self.config)
        if mirror is None:
            return None
        return Follower(mirror, self.config.storage, after=lambda: self.on_pull())

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

        return Answerer(self.config.llm, self._encoder.encode, self._trust, self.purse)

    @cached_property
    def _condenser(self) -> "Condenser":
        from rag_assets.answering.condense import Condenser
        from rag_assets.answering.models import open_models

        return Condenser(self.config.llm, open_models(self.config.llm, purse=self.purse)[0])


def passages_for_answer(k: int) -> int:
    """How many passages are searched for an answer that uses k: near copies are left out."""
    return min(_SPARE * k, MAX_K)


def search(query: str, **options: object) -> SearchResult:
    """`KnowledgeBase.search` on the default knowledge base."""
    return _default().search(query, **options)  # type: ignore[arg-type]


def answer(question: str, **options: object) -> "Answer | Iterator[AnswerPart]":
    """`KnowledgeBase.answer` on the default knowledge base."""
    return cast("Answer", _default().answer(question, **options))  # type: ignore[call-overload]


def _weighted(
    settings: RetrievalConfig, weights: Mapping[str, float] | None, category: str | None
) -> RetrievalConfig:
    """The settings with some weights replaced: those of a category, then those that a call names.

    Raises: BadRequest.
    """
    weights = {**settings.category_weights.get(category or "", {}), **(weights or {})}
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


@dataclass(frozen=True, slots=True)
class _Finish:
    """Adds to an answer what happened before it was written."""

    question: str
    asked: "Standalone"
    found: SearchResult
    explain: bool

    def answer(self, answer: "Answer") -> "Answer":
        rewritten = self.asked.question if self.asked.question != self.question else None
        return replace(
            answer,
            timings={"search": self.found.milliseconds, **answer.timings},
            cost_usd=answer.cost_usd + self.asked.cost_usd,
            standalone_question=rewritten,
            passages=answer.passages if self.explain else (),
        )

    def part(self, part: "AnswerPart") -> "AnswerPart":
        if part.answer is not None:
            return replace(part, answer=self.answer(part.answer))
        if part.index_version is not None:
            return replace(part, timings={"search": self.found.milliseconds})
        return part
