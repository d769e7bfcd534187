"""Questions on their way to a knowledge base and back: narrowed, cached, counted, recorded.

HTTP, chat and MCP all ask through here, so that no way in sees more than another.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from rag_assets.answering.base import Answer, AnswerPart
from rag_assets.answering.condense import Turn
from rag_assets.costs import Entry, charged_to, spent_here
from rag_assets.costs.ledger import now
from rag_assets.knowledge_base import SearchResult
from rag_assets.retrieval.base import Mode
from rag_assets.service.cache import AnswerCache, CacheKey
from rag_assets.service.canary import OnArm
from rag_assets.service.library import Library, Shelf
from rag_assets.service.limits import Limits
from rag_assets.service.metrics import Metrics
from rag_assets.service.principals import Principal
from rag_assets.service.record import Record
from rag_assets.service.schemas import Options
from rag_assets.service.tasks import complete_task


@dataclass(frozen=True, slots=True)
class Question:
    """What a caller wants to know; None leaves it to the knowledge base's configuration."""

    text: str
    k: int | None = None
    where: Mapping[str, object] | None = None
    groups: Sequence[str] | None = None
    version: int | None = None
    mode: Mode | None = None
    weights: Mapping[str, float] | None = None
    category: str | None = None
    explain: bool = False
    history: Sequence[Turn] = ()

    @classmethod
    def of(
        cls, text: str, options: Options, *, explain: bool = False, history: Sequence[Turn] = ()
    ) -> "Question":
        """The question of a request's body."""
        return cls(
            text,
            options.k,
            options.where,
            options.groups,
            options.version,
            options.mode,
            options.weights,
            options.category,
            explain,
            history,
        )

    def arguments(self, principal: Principal) -> dict[str, Any]:
        """What `KnowledgeBase` is called with on behalf of a principal."""
        return {
            "k": self.k,
            "where": principal.narrowed(self.where),
            "groups": principal.readable_groups(self.groups),
            "version": self.version,
            "mode": self.mode,
            "weights": self.weights,
            "category": self.category,
        }

    def answering(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The same, with what only an answer takes; the record is to name every passage used."""
        return {**arguments, "history": self.history, "explain": True}

    def shown(self, answer: Answer) -> Answer:
        """The answer with what was asked for of it."""
        return answer if self.explain else replace(answer, passages=())


@dataclass(frozen=True)
class Asker:
    """Asks the knowledge bases of one service."""

    library: Library
    limits: Limits
    metrics: Metrics
    cache: AnswerCache = field(repr=False)

    async def search(
        self, shelf: Shelf, question: Question, principal: Principal, record: Record
    ) -> SearchResult:
        """Ranked passages that the principal may read."""
        arguments = self._begin(shelf, question, principal, record)
        by = self._by(shelf, question, principal, record)
        async with self._charging(shelf, principal, record):
            found = await asyncio.to_thread(
                by.search, question.text, **arguments, explain=question.explain
            )
        record.index_version = found.index_version
        record.chunk_ids = [hit.chunk_id for hit in found]
        record.searched = found.milliseconds
        self.metrics.retrieval(shelf.name, found.milliseconds)
        return found

    async def answer(
        self, shelf: Shelf, question: Question, principal: Principal, record: Record
    ) -> Answer:
        """A cited answer from what the principal may read."""
        arguments = self._begin(shelf, question, principal, record)
        by = self._by(shelf, question, principal, record)
        key = self._key(shelf, question, arguments)
        held = self._cached(key, record) if by.may_repeat else None
        if held is not None:
            return question.shown(held)
        async with self._charging(shelf, principal, record):
            answer = await by.answer(question.text, **question.answering(arguments))
        self._made(shelf, by, key, answer, record)
        return question.shown(answer)

    async def stream(
        self, shelf: Shelf, question: Question, principal: Principal, record: Record
    ) -> AsyncGenerator[AnswerPart, None]:
        """The same answer piece by piece, then whole."""
        arguments = self._begin(shelf, question, principal, record)
        by = self._by(shelf, question, principal, record)
        key = self._key(shelf, question, arguments)
        held = self._cached(key, record) if by.may_repeat else None
        if held is not None:
            yield AnswerPart(text=held.text)
            yield AnswerPart(answer=question.shown(held))
            return
        first: float | None = None
        asked = by.stream(question.text, **question.answering(arguments))
        async with self._charging(shelf, principal, record), aclosing(asked) as parts:
            async for part in parts:
                if part.index_version is not None:
                    # Known before any text, so that a stream which breaks off is recorded with it.
                    record.index_version = part.index_version
                    record.chunk_ids = [passage.chunk_id for passage in part.passages]
                    record.searched, record.writing_since = part.timings["search"], time.time_ns()
                elif part.answer is None:
                    first = record.seconds if first is None else first
                    yield part
                else:
                    self._made(shelf, by, key, part.answer, record)
                    if first is not None:
                        self.metrics.first_token(shelf.name, part.answer.model, first)
                    yield AnswerPart(answer=question.shown(part.answer))

    async def task(
        self, shelf: Shelf, said: Sequence[tuple[str, str]], principal: Principal, record: Record
    ) -> AsyncIterator[AnswerPart]:
        """A front end's own prompt, answered without retrieval; said: (role, text)."""
        record.knowledge_base = shelf.name
        record.details["task"] = True
        self._charge_to(principal, record)
        async with self._charging(shelf, principal, record):
            done, problem = await complete_task(shelf.knowledge, said)
        answer = Answer(
            text=done.text,
            citations=(),
            confidence=0.0,
            needs_review=False,
            index_version=0,
            model=done.model,
            usage=done.usage,
            cost_usd=done.cost_usd,
            degraded=problem is not None,
            problem=problem,
        )
        record.answer = answer
        yield AnswerPart(text=answer.text)
        yield AnswerPart(answer=answer)

    def _begin(
        self, shelf: Shelf, question: Question, principal: Principal, record: Record
    ) -> dict[str, Any]:
        """Note what is asked; the arguments to ask it with. Raises: Refused (404)."""
        arguments = question.arguments(principal)
        record.knowledge_base = shelf.name
        record.question = question.text
        self._charge_to(principal, record)
        record.filters = {name: value for name, value in arguments.items() if value is not None}
        shelf.checked_version(question.version)
        return arguments

    def _key(self, shelf: Shelf, question: Question, arguments: Mapping[str, Any]) -> CacheKey:
        versions, version = shelf.versions, question.version
        live = versions.live()
        if version in (None, live.version):
            version, edition = live.version, live.manifest
        else:
            edition = versions.manifest_digest(version)
        said = [(turn["role"], turn["content"]) for turn in question.history]
        options = sorted(arguments.items())
        asked = (question.text, options, said)
        written = (shelf.config.llm.model, shelf.knowledge.prompt_version)
        return CacheKey.of(shelf.name, version, edition, asked, *written)

    def _cached(self, key: CacheKey, record: Record) -> Answer | None:
        if not self.cache.enabled:
            return None
        shelf = self.library.shelves[key.knowledge_base]
        live = shelf.versions.live()
        self.cache.serve(shelf.name, live.version, live.manifest)
        held = self.cache.get(key)
        self.metrics.cache(key.knowledge_base, hit=held is not None)
        if held is not None:
            record.cached = True
            _note(record, held)
            shelf.knowledge.ledger.add(_spared(held))
        return held

    def _made(self, shelf: Shelf, by: OnArm, key: CacheKey, answer: Answer, record: Record) -> None:
        _note(record, answer)
        self.metrics.answer(shelf.name, answer)
        self.metrics.arms.answer(shelf.name, by.arm, answer)
        if by.may_repeat:
            self.cache.put(key, answer)

    def _by(self, shelf: Shelf, question: Question, principal: Principal, record: Record) -> OnArm:
        """Who answers: what is live, or for a share of those who name no version the canary."""
        arm = shelf.arms.live
        if question.version is None:
            arm = shelf.arms.choose(principal.id, question.text, question.history)

        def failed() -> None:
            record.details["canary_failed"] = True
            self.metrics.arms.failure(shelf.name)

        record.details.update(arm.details)
        return OnArm(arm, shelf.arms.live, failed)

    def _charge_to(self, principal: Principal, record: Record) -> None:
        charged_to.set(principal.id)
        spent_here.set(record.paid)

    @asynccontextmanager
    async def _charging(
        self, shelf: Shelf, principal: Principal, record: Record
    ) -> AsyncIterator[None]:
        """What models were paid within counts for the principal, also when it breaks off."""
        before = len(record.paid)
        try:
            yield
        finally:
            paid = record.paid[before:]
            self.metrics.paid(shelf.name, paid)
            await self.limits.spend(principal, sum(entry.usd for entry in paid))


def _spared(held: Answer) -> Entry:
    """What the cache spared, in the ledger of the one who asked."""
    usage = held.usage
    return Entry(
        now(),
        "answer",
        held.model,
        charged_to.get(),
        calls=0,
        saved_calls=1,
        saved_tokens=usage.total_tokens,
        saved_usd=held.cost_usd,
    )


def _note(record: Record, answer: Answer) -> None:
    record.answer = answer
    record.searched = answer.timings.get("search")
    record.index_version = answer.index_version
    record.chunk_ids = [passage.chunk_id for passage in answer.passages]
