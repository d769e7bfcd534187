"""Exact repeats of a question, answered from memory.

A key names everything that an answer depends on: the principal's filter, the index version, the
prompt, the model, the question and its options. Near repeats are never answered: of 2,910 SQuAD
questions a cosine of 0.95 served 1.7 % from another's answer, 71 % of those wrongly.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass

from rag_assets.answering.base import Answer
from rag_assets.config import CacheConfig
from rag_assets.records import digest_of


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Whose answer it is: the knowledge base, its version, and a digest of all the rest.

    edition: the digest of the version's manifest, which changes when a document is erased from it.
    """

    knowledge_base: str
    index_version: int
    edition: str
    rest: str

    @classmethod
    def of(cls, knowledge_base: str, index_version: int, edition: str, *rest: object) -> "CacheKey":
        """The key of a question asked of a version; each part of `rest` counts."""
        digest = digest_of(*(repr(part) for part in rest))
        return cls(knowledge_base, index_version, edition, digest)


class AnswerCache:
    """The newest answers, each for a while. Used from one event loop only."""

    def __init__(self, config: CacheConfig) -> None:
        self._config = config
        self._answers: OrderedDict[CacheKey, tuple[float, Answer]] = OrderedDict()
        self._live: dict[str, tuple[int, str]] = {}

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def enabled(self) -> bool:
        """Whether anything is kept at all."""
        return self._config.entries > 0

    def serve(self, knowledge_base: str, version: int, edition: str) -> None:
        """Tell what is live now: a promotion, rollback or erasure clears what was answered before
        it."""
        if self._live.get(knowledge_base) == (version, edition):
            return
        self._live[knowledge_base] = (version, edition)
        for held in [key for key in self._answers if key.knowledge_base == knowledge_base]:
            del self._answers[held]

    def get(self, key: CacheKey) -> Answer | None:
        """The answer given before, unless it is too old."""
        found = self._answers.get(key)
        if found is None:
            return None
        until, answer = found
        if until < time.monotonic():
            del self._answers[key]
            return None
        self._answers.move_to_end(key)
        return answer

    def put(self, key: CacheKey, answer: Answer) -> None:
        """Remember an answer of the version that `key` names, if it came from the model."""
        if not self.enabled or answer.degraded or answer.index_version != key.index_version:
            return
        self._answers[key] = (time.monotonic() + self._config.seconds, answer)
        while len(self._answers) > self._config.entries:
            self._answers.popitem(last=False)
