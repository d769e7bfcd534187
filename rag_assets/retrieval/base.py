"""The contract of this room: what a search is asked, and what comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

import numpy as np

Mode = Literal["hybrid", "dense", "lexical"]

MAX_K = 1000


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One search.

    where: a filter in Chroma's language over document metadata. groups: the principal's groups, a
    filter that `where` cannot widen; None is a trusted caller who may see everything. now: the time
    that validity is judged at, with a time zone; None is the present.
    """

    query: str
    k: int = 5
    where: Mapping[str, object] | None = None
    groups: Sequence[str] | None = None
    mode: Mode = "hybrid"
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage found. `start` and `end` are character offsets into the document's text.

    signals: the parts that make up the score, by name.
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
    metadata: Mapping[str, object] = field(default_factory=dict)
    signals: Mapping[str, float] = field(default_factory=dict)


class QueryEncoder(Protocol):
    """What a search needs of an encoder (see `rag_assets.embedding.base.Encoder`)."""

    @property
    def fingerprint(self) -> str:
        """Names the vector space; it must be that of the index."""

    def encode_query(self, text: str) -> np.ndarray:
        """The vector of one query: float32 (dim,), L2-normalised."""
