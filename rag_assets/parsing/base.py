"""The contract of this room: bytes in, text with structure out, or the reason why not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

from rag_assets.errors import RagError

Scalar = str | int | float | bool | None

Reason = Literal[
    "empty",  # no bytes
    "no_text",  # bytes, but no text in them, such as a scan without OCR
    "unknown_type",  # a binary format nobody here can read
    "encrypted",  # needs a password
    "damaged",  # of a known format, but broken
    "too_large",  # above a limit of bytes, characters or members
    "too_deep",  # nested beyond a limit
    "missing_tool",  # needs a program or extra that is not installed
    "timeout",  # the parser was killed at its time limit
    "out_of_memory",  # the parser hit its memory limit
    "crashed",  # the parser's process died
    "unreadable",  # the source lists it but cannot bring its bytes
    "blocked",  # holds personal data, and the source says `pii: block`
]
REASONS: tuple[str, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading: where its line starts in the text, its level from 1, and its words."""

    start: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page, slide or sheet: where it starts in the text, and its number from 1."""

    start: int
    number: int


@dataclass(frozen=True, slots=True)
class Parsed:
    """A document as text. Every offset counts characters of `text`.

    text: NFC, lines end in `\\n`, no other control character than the tab, no trailing spaces, at
    most three line ends in a row, never blank.
    headings, pages: in order of `start`.
    metadata: what the document says of itself (author, created, language …).
    """

    text: str
    title: str | None
    media_type: str
    headings: tuple[Heading, ...] = ()
    pages: tuple[Page, ...] = ()
    metadata: Mapping[str, Scalar] = field(default_factory=dict)


class Unparseable(RagError):
    """A document cannot become text; `reason` is one of `REASONS`, the message is for people."""

    http_status = 422

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class Parser(Protocol):
    """One format."""

    def __call__(self, data: bytes, name: str) -> Parsed:
        """The text of a document of this format.

        Raises: Unparseable. Any other exception counts as `damaged`.
        """


@dataclass(frozen=True, slots=True)
class ParseTask:
    """A document to parse: its bytes or the file that holds them, and a name to sniff with."""

    task_id: str
    path: Path | None
    data: bytes | None
    name: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a document was not parsed, and the seconds spent on finding out."""

    reason: Reason
    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """What parsing one document may cost.

    seconds: wall time in a child process. memory: its address space, in bytes. max_bytes: a larger
    file is refused unread. max_text: characters of the result. workers: child processes; None for
    one a core, at most four. tasks_per_worker: a child is replaced after so many documents.
    """

    seconds: float = 60.0
    memory: int = 3 << 30
    max_bytes: int = 256 << 20
    max_text: int = 50_000_000
    workers: int | None = None
    tasks_per_worker: int = 200
