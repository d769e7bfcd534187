"""Passages to an answer: pack, prompt, call, verify; and degrade to quoting when models fail."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from rag_assets.answering.base import Answer, AnswerPart, Citation, Usage
from rag_assets.answering.citations import Checked, MarkFilter, check_citations
from rag_assets.answering.confidence import confidence
from rag_assets.answering.context import Source, pack
from rag_assets.answering.extractive import Encode
from rag_assets.answering.litellm_setup import EXTRACTIVE
from rag_assets.answering.llm import Completion, LanguageModel
from rag_assets.answering.prompt import NO_ANSWER, PROMPT_VERSION, Message, make_messages
from rag_assets.config import LlmConfig
from rag_assets.errors import BadRequest, LlmError
from rag_assets.retrieval.base import Hit

__all__ = ["Answer", "AnswerPart", "Answerer", "Citation", "Usage"]

Refusal = Callable[[float], str | None]

ABSTENTION = "The knowledge base does not answer this question."

_REVIEW_BELOW = 0.5  # confidence
_CHARACTERS_A_TOKEN = 4  # for the built-in answerer, which has no tokenizer


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question with everything that is known before a model is called."""

    question: str
    hits: Sequence[Hit]
    sources: list[Source]
    messages: list[Message]
    index_version: int
    started: float
    timings: dict[str, float] = field(default_factory=dict)


class Answerer:
    """Turns a question and its passages into an answer. Safe to use from any thread."""

    def __init__(
        self, config: LlmConfig, encode: Encode | None = None, refusal: Refusal | None = None
    ) -> None:
        """refusal: given US dollars that a call may cost, why it must not be made, or None."""
        names = list(dict.fromkeys((config.model, *config.fallbacks, EXTRACTIVE)))
        self._config = config
        self._models = [LanguageModel(config, name, encode) for name in names]
        self._refusal = refusal

    def answer(self, question: str, hits: Sequence[Hit], index_version: int) -> Answer:
        """The whole answer.

        hits: best first, of one index version. Raises: BadRequest for an empty question, LlmError
        when the configured model has no key.
        """
        asked = self._asked(question, hits, index_version)
        models, problem = self._affordable(asked)
        for model in models:
            try:
                return self._finished(asked, model.complete(asked.messages), problem)
            except LlmError as error:
                problem = problem or str(error)
        return self._nothing(asked, problem)

    async def aanswer(self, question: str, hits: Sequence[Hit], index_version: int) -> Answer:
        """`answer`, without blocking the event loop."""
        asked = self._asked(question, hits, index_version)
        models, problem = self._affordable(asked)
        for model in models:
            try:
                return self._finished(asked, await model.acomplete(asked.messages), problem)
            except LlmError as error:
                problem = problem or str(error)
        return self._nothing(asked, problem)

    def stream(
        self, question: str, hits: Sequence[Hit], index_version: int
    ) -> Iterator[AnswerPart]:
        """The answer piece by piece, then whole.

        Raises: LlmError when a model breaks off after its first words; before them, the next model
        is tried.
        """
        asked = self._asked(question, hits, index_version)
        return self._streamed(asked)

    def _streamed(self, asked: _Asked) -> Iterator[AnswerPart]:
        models, problem = self._affordable(asked)
        for model in models:
            shown = _Shown(asked)
            try:
                for piece in model.stream(asked.messages):
                    if isinstance(piece, Completion):
                        yield from shown.last(self._finished(asked, piece, problem, shown.timings))
                        return
                    yield from shown.more(piece)
            except LlmError as error:
                if shown.begun:
                    raise
                problem = problem or str(error)
        yield from _Shown(asked).last(self._nothing(asked, problem))

    async def astream(
        self, question: str, hits: Sequence[Hit], index_version: int
    ) -> AsyncIterator[AnswerPart]:
        """`stream`, without blocking the event loop."""
        asked = self._asked(question, hits, index_version)
        models, problem = self._affordable(asked)
        for model in models:
            shown = _Shown(asked)
            try:
                async for piece in model.astream(asked.messages):
                    if isinstance(piece, Completion):
                        answer = self._finished(asked, piece, problem, shown.timings)
                        for part in shown.last(answer):
                            yield part
                        return
                    for part in shown.more(piece):
                        yield part
            except LlmError as error:
                if shown.begun:
                    raise
                problem = problem or str(error)
        for part in _Shown(asked).last(self._nothing(asked, problem)):
            yield part

    def _affordable(self, asked: _Asked) -> tuple[list[LanguageModel], str | None]:
        """The models to try, in order, and why the first of them is not among these."""
        models, problem = self._models if asked.sources else [], None
        if self._refusal is None:
            return models, None
        left = []
        for model in models:
            why = self._refusal(model.most_usd)
            if why is None:
                left.append(model)
            problem = problem or why
        return left, problem

    def _asked(self, question: str, hits: Sequence[Hit], index_version: int) -> _Asked:
        if not isinstance(question, str) or not question.strip():
            raise BadRequest(f"question: expected a text that is not empty, found {question!r}")
        self._models[0].check()
        started = time.perf_counter()
        budget = self._config.max_context_tokens // 2
        sources = pack(hits, budget, self._count_tokens)
        return _Asked(
            question, hits, sources, make_messages(question, sources), index_version, started
        )

    @cached_property
    def _count_tokens(self) -> Callable[[str], int]:
        if self._config.model == EXTRACTIVE:
            return lambda text: len(text) // _CHARACTERS_A_TOKEN + 1
        return self._models[0].count_tokens

    def _finished(
        self,
        asked: _Asked,
        completion: Completion,
        problem: str | None,
        timings: dict[str, float] | None = None,
    ) -> Answer:
        checked = check_citations(completion.text, asked.sources)
        abstained = NO_ANSWER in completion.text
        if abstained:
            checked = Checked(ABSTENTION, (), 0, 0.0)
        sure = 0.0 if abstained else confidence(asked.question, asked.hits, checked)
        degraded = completion.model == EXTRACTIVE != self._config.model
        unsupported = not checked.citations or checked.dropped > 0
        return Answer(
            text=checked.text,
            citations=checked.citations,
            confidence=sure,
            needs_review=abstained or degraded or unsupported or sure < _REVIEW_BELOW,
            index_version=asked.index_version,
            model=completion.model,
            usage=completion.usage,
            cost_usd=completion.cost_usd,
            timings={**(timings or {}), "answer": (time.perf_counter() - asked.started) * 1000},
            abstained=abstained,
            degraded=degraded,
            problem=problem,
            dropped_citations=checked.dropped,
            prompt_version=PROMPT_VERSION,
        )

    def _nothing(self, asked: _Asked, problem: str | None) -> Answer:
        """No passages to answer from, or no model that could."""
        nothing = Completion(NO_ANSWER, self._config.model, Usage(), 0.0)
        return replace(self._finished(asked, nothing, problem), degraded=problem is not None)


class _Shown:
    """What of a stream has been handed on: valid marks only, and no agreed abstention word."""

    def __init__(self, asked: _Asked) -> None:
        self._asked = asked
        self._marks = MarkFilter([source.number for source in asked.sources])
        self._held = ""
        self.timings: dict[str, float] = {}

    @property
    def begun(self) -> bool:
        """Whether any text was handed on."""
        return bool(self.timings)

    def more(self, piece: str) -> Iterator[AnswerPart]:
        """The parts that a piece of the model's text makes."""
        self._held += piece
        if NO_ANSWER.startswith(self._held.lstrip()) or NO_ANSWER in self._held:
            return
        text, self._held = self._marks.feed(self._held), ""
        yield from self._part(text)

    def last(self, answer: Answer) -> Iterator[AnswerPart]:
        """The rest of the text, then the answer."""
        if answer.abstained:
            yield from self._part(answer.text)
        else:
            yield from self._part(self._marks.feed(self._held) + self._marks.finish())
        yield AnswerPart(answer=answer)

    def _part(self, text: str) -> Iterator[AnswerPart]:
        if text:
            elapsed = (time.perf_counter() - self._asked.started) * 1000
            self.timings.setdefault("first_text", elapsed)
            yield AnswerPart(text=text)
