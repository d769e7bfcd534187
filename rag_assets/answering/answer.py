"""Passages to an answer: pack, prompt, call, verify; and degrade to quoting when models fail."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import cached_property

from rag_assets.answering.base import Answer, AnswerPart, Citation, Usage, UsedPassage, Withheld
from rag_assets.answering.citations import Checked, check_citations
from rag_assets.answering.confidence import UNCALIBRATED, Calibration, signals_of
from rag_assets.answering.context import Source, distinct, pack
from rag_assets.answering.extractive import Encode
from rag_assets.answering.models import EXTRACTIVE, Completion, Model, open_models
from rag_assets.answering.prompt import NO_ANSWER, Prompt, Secrets, instructions, make_prompt
from rag_assets.answering.safety import (
    ALL,
    TRUSTED,
    Defences,
    Leaked,
    ReplyFilter,
    without_instructions,
)
from rag_assets.answering.shown import Shown
from rag_assets.config import LlmConfig
from rag_assets.costs import Purse
from rag_assets.errors import BadRequest, LlmError
from rag_assets.retrieval.base import Hit

__all__ = ["Answer", "AnswerPart", "Answerer", "Citation", "Usage"]

ABSTENTION = "The knowledge base does not answer this question."

_LEAKED = "the reply gave away its instructions, as a passage may have asked it to"
_UNPROVEN = "nothing in its reply stands in the passages it was given"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question with everything that is known before a model is called.

    sources: the passages as they are. prompt: with those of them that the model may see. steering:
    numbers of passages that address the assistant. trusted: numbers of those whose source is.
    """

    question: str
    hits: Sequence[Hit]
    sources: list[Source]
    prompt: Prompt
    steering: frozenset[int]
    trusted: frozenset[int]
    index_version: int
    calibration: Calibration
    started: float


class _NotShown(LlmError):
    """A reply that must not be shown."""

    def __init__(self, message: str, completion: Completion) -> None:
        super().__init__(message)
        self.completion = completion


@dataclass(slots=True)
class _Tried:
    """The models that failed before: what the first said of it, and replies that were not shown."""

    problem: str | None = None
    withheld: tuple[Withheld, ...] = ()

    def failed(self, model: str, error: LlmError | Leaked) -> None:
        self.problem = self.problem or _problem(model, error)
        if isinstance(error, _NotShown):
            done = error.completion
            self.withheld += (Withheld(done.model, done.usage, done.cost_usd),)


class Answerer:
    """Turns a question and its passages into an answer. Safe to use from any thread.

    trust: 0 to 1 by source, 1 where it is missing. purse: what models are paid from. Raises:
    ConfigError for prompts of the user's own that cannot be used.
    """

    def __init__(
        self,
        config: LlmConfig,
        encode: Encode | None = None,
        trust: Mapping[str, float] | None = None,
        purse: Purse | None = None,
        defences: Defences = ALL,
    ) -> None:
        self._config = config
        self._models = open_models(config, encode, purse)
        self._trust = trust or {}
        self._defences = defences
        self._instructions = instructions(config.prompts)

    @property
    def prompt_version(self) -> str:
        """Of the instructions that answers are written by."""
        return self._instructions.version

    def answer(
        self,
        question: str,
        hits: Sequence[Hit],
        index_version: int,
        limit: int | None = None,
        calibration: Calibration = UNCALIBRATED,
    ) -> Answer:
        """The whole answer.

        hits: best first, of one index version. limit: passages used, near copies counted once; all
        by default. Raises: BadRequest for an empty question, LlmError when the configured model has
        no key.
        """
        asked = self._asked(question, hits, index_version, limit, calibration)
        tried = _Tried()
        for model in self._usable(asked):
            try:
                return self._finished(asked, model.complete(asked.prompt), tried)
            except LlmError as error:
                tried.failed(model.name, error)
        return self._nothing(asked, tried)

    async def aanswer(
        self,
        question: str,
        hits: Sequence[Hit],
        index_version: int,
        limit: int | None = None,
        calibration: Calibration = UNCALIBRATED,
    ) -> Answer:
        """`answer`, without blocking the event loop."""
        asked = self._asked(question, hits, index_version, limit, calibration)
        tried = _Tried()
        for model in self._usable(asked):
            try:
                return self._finished(asked, await model.acomplete(asked.prompt), tried)
            except LlmError as error:
                tried.failed(model.name, error)
        return self._nothing(asked, tried)

    def stream(
        self,
        question: str,
        hits: Sequence[Hit],
        index_version: int,
        limit: int | None = None,
        calibration: Calibration = UNCALIBRATED,
    ) -> Iterator[AnswerPart]:
        """What it rests on, then the answer piece by piece, then whole.

        Raises: LlmError when a model breaks off, or gives away its instructions, after its first
        words; before them, the next model is tried.
        """
        return self._streamed(self._asked(question, hits, index_version, limit, calibration))

    def _streamed(self, asked: _Asked) -> Iterator[AnswerPart]:
        yield _begun(asked)
        tried = _Tried()
        for model in self._usable(asked):
            shown = self._shown(asked)
            try:
                for piece in model.stream(asked.prompt):
                    yield from self._parts(asked, shown, model.name, piece, tried)
                return
            except (LlmError, Leaked) as error:
                tried.failed(model.name, error)
                if shown.begun:
                    raise LlmError(_problem(model.name, error)) from None
        yield from self._shown(asked).last(self._nothing(asked, tried))

    async def astream(
        self,
        question: str,
        hits: Sequence[Hit],
        index_version: int,
        limit: int | None = None,
        calibration: Calibration = UNCALIBRATED,
    ) -> AsyncGenerator[AnswerPart, None]:
        """`stream`, without blocking the event loop."""
        asked = self._asked(question, hits, index_version, limit, calibration)
        yield _begun(asked)
        tried = _Tried()
        for model in self._usable(asked):
            shown = self._shown(asked)
            try:
                async with aclosing(model.astream(asked.prompt)) as pieces:
                    async for piece in pieces:
                        for part in self._parts(asked, shown, model.name, piece, tried):
                            yield part
                return
            except (LlmError, Leaked) as error:
                tried.failed(model.name, error)
                if shown.begun:
                    raise LlmError(_problem(model.name, error)) from None
        for part in self._shown(asked).last(self._nothing(asked, tried)):
            yield part

    def _usable(self, asked: _Asked) -> Sequence[Model]:
        """The models to try, in order; none where there is nothing to answer from."""
        return self._models if asked.sources else ()

    def _parts(
        self, asked: _Asked, shown: Shown, model: str, piece: str | Completion, tried: _Tried
    ) -> Iterator[AnswerPart]:
        if isinstance(piece, Completion):
            if shown.begun:
                checked = self._checked(asked, piece)
                yield from shown.last(self._answered(asked, piece, checked, tried, shown.timings))
            else:
                answer = self._finished(asked, piece, tried, shown.timings)
                yield from shown.last(answer, whole=self._whole(piece.model))
        elif not self._whole(model):
            yield from shown.more(piece)

    def _whole(self, model: str) -> bool:
        """Whether nothing is shown before all of it was judged; the built-in model is that fast."""
        return model == EXTRACTIVE or self._config.unproven == "drop"

    def _asked(
        self,
        question: str,
        hits: Sequence[Hit],
        index_version: int,
        limit: int | None,
        calibration: Calibration,
    ) -> _Asked:
        if not isinstance(question, str) or not question.strip():
            raise BadRequest(f"question: expected a text that is not empty, found {question!r}")
        self._models[0].check()
        started = time.perf_counter()
        most = len(hits) if limit is None else limit
        used = distinct(hits, self._trust, most) if self._defences.duplicates else hits[:most]
        sources = pack(used, self._config.max_context_tokens // 2, self._count_tokens)
        shown = [without_instructions(source) for source in sources]
        seen = shown if self._defences.instructions else sources
        hidden = Secrets() if self._defences.framed else None
        prompt = make_prompt(question, seen, self._instructions, hidden)
        return _Asked(
            question,
            used,
            sources,
            replace(prompt, evidence=0.0 if calibration.judges else 1.0),
            frozenset(a.number for a, b in zip(sources, shown, strict=True) if a != b),
            frozenset(
                source.number
                for source in sources
                if self._trust.get(source.source, 1.0) >= TRUSTED
            ),
            index_version,
            calibration,
            started,
        )

    @cached_property
    def _count_tokens(self) -> Callable[[str], int]:
        return self._models[0].count_tokens

    def _reply_filter(self, asked: _Asked) -> ReplyFilter:
        links = self._defences.links
        return ReplyFilter(asked.sources, asked.trusted, asked.prompt.hidden, links=links)

    def _shown(self, asked: _Asked) -> Shown:
        return Shown(asked.sources, self._reply_filter(asked), asked.started)

    def _finished(
        self,
        asked: _Asked,
        completion: Completion,
        tried: _Tried,
        timings: Mapping[str, float] | None = None,
    ) -> Answer:
        """The answer of a completion. Raises: LlmError for one that must not be shown."""
        try:
            checked = self._checked(asked, completion)
        except Leaked as error:
            raise _NotShown(_problem(completion.model, error), completion) from None
        unproven = not checked.citations and NO_ANSWER not in completion.text
        if unproven and self._defences.unproven:
            raise _NotShown(f"{completion.model}: {_UNPROVEN}", completion)
        return self._answered(asked, completion, checked, tried, timings)

    def _checked(self, asked: _Asked, completion: Completion) -> Checked:
        reply = self._reply_filter(asked)
        text = reply.feed(completion.text) + reply.finish()
        checked = check_citations(text, asked.sources, drop=self._config.unproven == "drop")
        return replace(checked, removed_links=reply.removed)

    def _answered(
        self,
        asked: _Asked,
        completion: Completion,
        checked: Checked,
        tried: _Tried,
        timings: Mapping[str, float] | None = None,
    ) -> Answer:
        signals = signals_of(asked.question, asked.hits, checked)
        sure = asked.calibration.confidence(signals)
        said_nothing = NO_ANSWER in completion.text
        begun = bool(timings)  # what was shown cannot be taken back
        if said_nothing or (sure < asked.calibration.abstain_below and not begun):
            checked = Checked(ABSTENTION, (), 0, 0.0)
        abstained = checked.text == ABSTENTION
        sure = 0.0 if said_nothing else sure
        degraded = completion.model == EXTRACTIVE != self._config.model
        return Answer(
            text=checked.text,
            citations=checked.citations,
            confidence=sure,
            calibrated=asked.calibration.learnt,
            needs_review=abstained
            or degraded
            or sure < asked.calibration.review_below
            or self._doubtful(asked, checked),
            index_version=asked.index_version,
            model=completion.model,
            usage=completion.usage,
            cost_usd=completion.cost_usd + sum(one.cost_usd for one in tried.withheld),
            timings={**(timings or {}), "answer": (time.perf_counter() - asked.started) * 1000},
            abstained=abstained,
            degraded=degraded,
            problem=tried.problem,
            dropped_citations=checked.dropped,
            unproven_claims=checked.unproven,
            removed_links=checked.removed_links,
            prompt_version=self.prompt_version,
            withheld=tried.withheld,
            signals=signals,
            passages=tuple(_used(source, asked.hits) for source in asked.sources),
        )

    def _doubtful(self, asked: _Asked, checked: Checked) -> bool:
        """Whether something was taken out, or it rests on what should not be relied on alone."""
        cited = {citation.number for citation in checked.citations}
        wrong = checked.dropped > 0 or checked.unproven > 0 or checked.removed_links > 0
        return wrong or not cited & asked.trusted or bool(cited & asked.steering)

    def _nothing(self, asked: _Asked, tried: _Tried) -> Answer:
        """No passages to answer from, or no model that could."""
        nothing = Completion(NO_ANSWER, self._config.model, Usage(), 0.0)
        answer = self._answered(asked, nothing, Checked(ABSTENTION, (), 0, 0.0), tried)
        return replace(answer, degraded=tried.problem is not None)


def _begun(asked: _Asked) -> AnswerPart:
    passages = tuple(_used(source, asked.hits) for source in asked.sources)
    return AnswerPart(passages=passages, index_version=asked.index_version)


def _used(source: Source, hits: Sequence[Hit]) -> UsedPassage:
    best = next(hit for hit in hits if hit.chunk_id == source.chunk_id)
    return UsedPassage(
        source.number,
        source.doc_id,
        source.chunk_id,
        best.rank,
        best.score,
        dict(best.signals),
        dict(best.parts),
    )


def _problem(model: str, error: Exception) -> str:
    return f"{model}: {_LEAKED}" if isinstance(error, Leaked) else str(error)
