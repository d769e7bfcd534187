"""The contract of this room: what is told, and a channel that tells it."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from rag_assets.config import EventName
from rag_assets.errors import RagError


class Undelivered(RagError):
    """A channel did not take a message. `passing`: trying again later may help."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True, slots=True)
class Event:
    """One thing worth a message.

    subject: events of one subject replace each other. state: two events of a subject with one
    state say the same; a new state is news. lasting: it holds until it is seen to have ended.
    facts: (name, value) pairs; lines: what follows them, such as the worst queries.
    """

    kind: EventName
    subject: str
    state: str
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    lines: tuple[str, ...] = ()
    run_id: str | None = None
    link: str | None = None
    lasting: bool = True

    def as_json(self) -> dict[str, Any]:
        """What a webhook gets and the outbox keeps."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "state": self.state,
            "title": self.title,
            "facts": [list(fact) for fact in self.facts],
            "lines": list(self.lines),
            "run_id": self.run_id,
            "link": self.link,
            "lasting": self.lasting,
        }

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Event":
        """What `as_json` wrote."""
        facts = tuple((name, value) for name, value in data["facts"])
        return cls(**{**data, "facts": facts, "lines": tuple(data["lines"])})


@dataclass(frozen=True, slots=True)
class Message:
    """An event on its way to people. id: the same at every try, so that receivers can tell."""

    id: str
    knowledge_base: str
    event: Event
    at: str  # ISO 8601, when it happened

    @property
    def title(self) -> str:
        """The first line."""
        return f"{self.knowledge_base}: {self.event.title}"

    @property
    def text(self) -> str:
        """All of it in plain text."""
        facts = [f"{name}: {value}" for name, value in self.event.facts]
        link = [self.event.link] if self.event.link else []
        return "\n".join([self.title, "", *facts, *self.event.lines, *link])

    def as_json(self) -> dict[str, Any]:
        """What a webhook gets."""
        return {
            "id": self.id,
            "knowledge_base": self.knowledge_base,
            "at": self.at,
            "text": self.text,
            **self.event.as_json(),
        }


class Channel(Protocol):
    """A way to people."""

    name: str

    def send(self, message: Message) -> None:
        """Deliver one message. Raises: Undelivered."""


GOOD: frozenset[str] = frozenset({"promoted", "resolved"})
"""Kinds that are no trouble."""


@dataclass(slots=True)
class Pending:
    """A message in the outbox. due: seconds since the epoch; done: channels that have it."""

    message: Message
    due: float
    attempts: int = 0
    done: list[str] = field(default_factory=list)
    since: float = 0.0
    repeats: int = 0
