"""What of a stream has been handed on: checked text only, and no agreed abstention word."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rag_assets.answering.base import Answer, AnswerPart
from rag_assets.answering.citations import MarkFilter
from rag_assets.answering.context import Source
from rag_assets.answering.prompt import NO_ANSWER
from rag_assets.answering.safety import ReplyFilter


class Shown:
    """The parts of one stream, from the pieces of one model's reply."""

    def __init__(self, sources: Sequence[Source], reply: ReplyFilter, started: float) -> None:
        self._reply = reply
        self._marks = MarkFilter([source.number for source in sources])
        self._started = started
        self._held = ""
        self.timings: dict[str, float] = {}

    @property
    def begun(self) -> bool:
        """Whether any text was handed on."""
        return bool(self.timings)

    def more(self, piece: str) -> Iterator[AnswerPart]:
        """The parts that a piece of the model's text makes. Raises: Leaked."""
        self._held += self._reply.feed(piece)
        if NO_ANSWER.startswith(self._held.lstrip()) or NO_ANSWER in self._held:
            return
        text, self._held = self._marks.feed(self._held), ""
        yield from self._part(text)

    def last(self, answer: Answer, *, whole: bool = False) -> Iterator[AnswerPart]:
        """The rest of the text, then the answer; whole: nothing was shown, so all of it is."""
        if (answer.abstained or whole) and not self.begun:
            yield from self._part(answer.text)
        elif not answer.abstained:
            held = self._held + self._reply.finish()
            yield from self._part(self._marks.feed(held) + self._marks.finish())
        yield AnswerPart(answer=replace(answer, timings={**self.timings, **answer.timings}))

    def _part(self, text: str) -> Iterator[AnswerPart]:
        if text:
            elapsed = (time.perf_counter() - self._started) * 1000
            self.timings.setdefault("first_text", elapsed)
            yield AnswerPart(text=text)
