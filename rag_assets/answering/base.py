"""The contract of this room: an answer, its citations, and the parts it is streamed in."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that the answer rests on, under the number that stands in the text.

    quote: the words of the passage that support the answer, verbatim. start, end: where the quote
    stands, in characters of the document's text; page: the page, slide or
    sheet on which the passage begins.
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
    page: int | None = None


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
class UsedPassage:
    """A passage that the model was given, under its number, with how it was found."""

    number: int
    doc_id: str
    chunk_id: str
    rank: int
    score: float
    signals: Mapping[str, float]
    parts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Withheld:
    """A reply that was paid for and not shown."""

    model: str
    usage: Usage
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and everything one needs to judge it.

    confidence: 0 to 1; calibrated: learnt on the knowledge base's eval set, not assumed.
    needs_review: a person should look before anyone relies on it. abstained: the knowledge base
    does not say. degraded: the configured model failed, `problem` says how, and the built-in one
    answered. dropped_citations: numbers the model cited that did not hold. unproven_claims:
    sentences at which no citation holds. removed_links: links it wrote that stand in no passage it
    cites. standalone_question: what was asked instead of a follow-up question. passages: what the
    model was given, where it was asked to explain. withheld: replies that could not be shown; their
    cost is part of cost_usd. signals: what the confidence was made from. timings: milliseconds by
    phase.
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
    unproven_claims: int = 0
    removed_links: int = 0
    prompt_version: str = ""
    calibrated: bool = False
    standalone_question: str | None = None
    passages: tuple[UsedPassage, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    signals: Mapping[str, float] = field(default_factory=dict)

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
                    "page": citation.page,
                    "quote": citation.quote,
                }
                for citation in self.citations
            ],
            "confidence": round(self.confidence, 4),
            "calibrated": self.calibrated,
            "needs_review": self.needs_review,
            "abstained": self.abstained,
            "degraded": self.degraded,
            "problem": self.problem,
            "dropped_citations": self.dropped_citations,
            "unproven_claims": self.unproven_claims,
            "removed_links": self.removed_links,
            "index_version": self.index_version,
            "model": self.model,
            "prompt_version": self.prompt_version,
            "usage": {
                "prompt_tokens": self.usage.prompt_tokens,
                "completion_tokens": self.usage.completion_tokens,
                "total_tokens": self.usage.total_tokens,
            },
            "cost_usd": self.cost_usd,
            "standalone_question": self.standalone_question,
            "passages": [asdict(passage) for passage in self.passages],
            "signals": {name: round(value, 4) for name, value in self.signals.items()},
            "timings": {name: round(ms, 3) for name, ms in self.timings.items()},
        }


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """One part of a streamed answer: some text, or at the end the whole answer.

    The first part has no text yet: it names the passages that the model is given, the index
    version that they are from, and the milliseconds that finding them took.
    """

    text: str = ""
    answer: Answer | None = None
    passages: tuple[UsedPassage, ...] = ()
    index_version: int | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
