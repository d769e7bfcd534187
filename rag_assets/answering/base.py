"""The contract of this room: an answer, its citations, and the parts it is streamed in."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that the answer rests on, under the number that stands in the text.

    quote: the words of the passage that support the answer, verbatim. start, end: where the quote
    stands, in characters of the document's text.
    """

    number: int
    uri: str
    doc_id: str
    title: str
    heading: tuple[str, ...]
    start: int
    end: int
    quote: str
    chunk_id: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer, as the model counts them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and everything one needs to judge it.

    confidence: 0 to 1. needs_review: a person should look before anyone relies on it. abstained:
    the knowledge base does not say. degraded: the configured model failed, `problem` says how, and
    the built-in one answered. dropped_citations: numbers the model cited that did not hold.
    timings: milliseconds by phase.
    """

    text: str
    citations: tuple[Citation, ...]
    confidence: float
    needs_review: bool
    index_version: int
    model: str
    usage: Usage = Usage()
    cost_usd: float = 0.0
    timings: Mapping[str, float] = field(default_factory=dict)
    abstained: bool = False
    degraded: bool = False
    problem: str | None = None
    dropped_citations: int = 0
    prompt_version: str = ""

    def as_json(self) -> dict[str, object]:
        """The answer as plain JSON types."""
        return {
            "text": self.text,
            "citations": [
                {
                    "number": citation.number,
                    "uri": citation.uri,
                    "doc_id": citation.doc_id,
                    "chunk_id": citation.chunk_id,
                    "title": citation.title,
                    "heading": list(citation.heading),
                    "start": citation.start,
                    "end": citation.end,
                    "quote": citation.quote,
                }
                for citation in self.citations
            ],
            "confidence": round(self.confidence, 4),
            "needs_review": self.needs_review,
            "abstained": self.abstained,
            "degraded": self.degraded,
            "problem": self.problem,
            "dropped_citations": self.dropped_citations,
            "index_version": self.index_version,
            "model": self.model,
            "prompt_version": self.prompt_version,
            "usage": {
                "prompt_tokens": self.usage.prompt_tokens,
                "completion_tokens": self.usage.completion_tokens,
                "total_tokens": self.usage.total_tokens,
            },
            "cost_usd": self.cost_usd,
            "timings": {name: round(ms, 3) for name, ms in self.timings.items()},
        }


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """One part of a streamed answer: some text, or at the end the whole answer."""

    text: str = ""
    answer: Answer | None = None
