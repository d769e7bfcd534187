"""The contract of this room: what a search is asked, and what comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

import numpy as np

from rag_assets.config import RetrievalConfig

Mode = Literal["hybrid", "dense", "lexical"]

MAX_K = 1000


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One search.

    where: a filter in Chroma's language over document metadata. groups: the principal's groups, a
    filter that `where` cannot widen; None is a trusted caller who may see everything. mode: None is
    that of `settings`. category: documents of this category are preferred. now: the time that
    validity and recency are judged at, with a time zone; None is the present. trust: by source, 1
    where absent. explain: fill in the signals of a leg for hits that only the other one found.
    """

    query: str
    k: int = 5
    where: Mapping[str, object] | None = None
    groups: Sequence[str] | None = None
    mode: Mode | None = None
    category: str | None = None
    now: datetime | None = None
    trust: Mapping[str, float] = field(default_factory=dict)
    explain: bool = False
    settings: RetrievalConfig = field(default_factory=RetrievalConfig)


@dataclass(frozen=True, slots=True)
class Location:
    """Another place where (nearly) the same passage stands."""

    uri: str
    doc_id: str
    chunk_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage found. `start` and `end` are character offsets into the document's text.

    page: of the document, slide or sheet, from 1, where it has any. signals: what each signal
    measured, by name; `gap`, how much of the query the word makes up that the passage matches
    worst, only tells. parts: what each added to the score, which is their sum. also_at: the other
    places of this passage; a search shows it once.
    """

    rank: int
    score: float
    uri: str
    doc_id: str
    chunk_id: str
    source: str
    title: str
    heading: tuple[str, ...]
    start: int
    end: int
    text: str
    page: int | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    signals: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)
    also_at: tuple[Location, ...] = ()


class QueryEncoder(Protocol):
    """What a search needs of an encoder (see `rag_assets.embedding.base.Encoder`).

    An encoder that also has `encode_query_with_tokens` and `token_form` makes the rerank possible.
    """

    @property
    def fingerprint(self) -> str:
        """Names the vector space; it must be that of the index."""

    def encode_query(self, text: str) -> np.ndarray:
        """The vector of one query: float32 (dim,), L2-normalised."""
