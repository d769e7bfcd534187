"""Two arms of one knowledge base: what is live, and for a share of the questions a canary.

Which arm a question falls to follows from its principal and the first question of its conversation
alone, so that a conversation stays on one arm, on every worker and after a restart. A version that
did not pass its gate is never an arm; where there is none, all is answered as ever.
"""

import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from rag_assets.answering.base import Answer, AnswerPart
from rag_assets.answering.condense import Turn
from rag_assets.config import CanaryConfig
from rag_assets.errors import IndexMismatch, IndexNotReady, RagError, StorageError
from rag_assets.index.versions import Versions
from rag_assets.knowledge_base import KnowledgeBase, SearchResult
from rag_assets.records import digest_of

log = logging.getLogger(__name__)

LIVE, CANARY = "live", "canary"
_BROKEN = (IndexMismatch, IndexNotReady, StorageError)  # what a damaged or lost version fails with
_LOOK_AGAIN = 2.0  # seconds; a promotion may make the canary the live version
_CONFIDENCE = tuple(round(step / 10, 1) for step in range(1, 11))
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)


@dataclass(frozen=True, slots=True)
class Arm:
    """Who answers. version: None is the live one. experiment: what is compared, if anything."""

    name: str
    knowledge: KnowledgeBase
    version: int | None = None
    experiment: str = ""

    @property
    def details(self) -> dict[str, str]:
        """What the audit log says of it."""
        return {"arm": self.name, "experiment": self.experiment} if self.experiment else {}


class OnArm:
    """One question on its arm, and on the live one when the canary's files fail.

    failed: called then.
    """

    def __init__(self, arm: Arm, live: Arm, failed: Callable[[], None]) -> None:
        self.arm = arm
        self._live = live
        self._failed = failed
        # The canary's answers are never repeated from the cache: what it is worth is measured.
        self.may_repeat = arm.name == LIVE

    def search(self, query: str, **arguments: Any) -> SearchResult:
        """`KnowledgeBase.search`."""
        try:
            return self.arm.knowledge.search(query, **self._of_version(arguments))
        except _BROKEN as error:
            self._fall_back(error)
        return self.arm.knowledge.search(query, **arguments)

    async def answer(self, question: str, **arguments: Any) -> Answer:
        """`KnowledgeBase.aanswer`."""
        try:
            return await self.arm.knowledge.aanswer(question, **self._of_version(arguments))
        except _BROKEN as error:
            self._fall_back(error)
        return await self.arm.knowledge.aanswer(question, **arguments)

    async def stream(self, question: str, **arguments: Any) -> AsyncGenerator[AnswerPart, None]:
        """`KnowledgeBase.astream`."""
        begun = False
        try:
            parts = self.arm.knowledge.astream(question, **self._of_version(arguments))
            async with aclosing(parts):
                async for part in parts:
                    begun = True
                    yield part
            return
        except _BROKEN as error:
            if begun:
                raise
            self._fall_back(error)
        async with aclosing(self.arm.knowledge.astream(question, **arguments)) as parts:
            async for part in parts:
                yield part

    def _of_version(self, arguments: dict[str, Any]) -> dict[str, Any]:
        version = self.arm.version
        return arguments if version is None else {**arguments, "version": version}

    def _fall_back(self, error: Exception) -> None:
        """Go on with the live arm. Raises: the error, where it is the live one that failed."""
        if self.arm.name == LIVE:
            raise error
        log.warning("the canary %s failed: %s", self.arm.experiment, error)
        self._failed()
        self.arm = self._live


class Arms:
    """The arms of one knowledge base. live: without an experiment, while there is no canary."""

    def __init__(self, knowledge: KnowledgeBase) -> None:
        self.live = Arm(LIVE, knowledge)
        self._versions = Versions(knowledge.config.storage)
        self._found: tuple[float, int | None] | None = None

    def choose(self, principal: str, question: str, history: Sequence[Turn] = ()) -> Arm:
        """The arm of a question; the live one, without an experiment, while there is no canary."""
        config = self.live.knowledge.config.canary
        if config is None or config.share <= 0:
            return self.live
        version = self._version(config)
        if config.version is not None and version is None:
            return self.live
        compared = (f"v{version}" if version else None, config.model)
        experiment = "+".join(name for name in compared if name)
        opening = history[0]["content"] if history else question
        asker = (principal,) if config.by == "principal" else (principal, opening)
        if share_of(experiment, *asker) >= config.share:
            return replace(self.live, experiment=experiment)
        knowledge = self._other_model if config.model else self.live.knowledge
        return Arm(CANARY, knowledge, version, experiment)

    @cached_property
    def _other_model(self) -> KnowledgeBase:
        live = self.live.knowledge
        config = live.config.canary
        assert config is not None
        given = {"model": config.model, "api_base": config.api_base, "api_key": config.api_key}
        return live.answering_with(live.config.llm.model_copy(update={**given, "fallbacks": []}))

    def _version(self, config: CanaryConfig) -> int | None:
        """The version of the canary, looked up every two seconds; None when there is none."""
        if config.version is None:
            return None
        now = time.monotonic()
        if self._found is None or now - self._found[0] > _LOOK_AGAIN:
            found = canary_version(self._versions, config)
            if self._found is not None and self._found[1] != found:
                log.warning("the canary is now %s", f"version {found}" if found else "nobody")
            self._found = (now, found)
        return self._found[1]


def canary_version(versions: Versions, config: CanaryConfig) -> int | None:
    """The version that a share may be answered from: proven, kept, of the live one's model."""
    try:
        live = versions.live()
        wanted = config.version
        if wanted == "candidate":
            wanted = versions.waiting()
        elif wanted == "previous":
            wanted = live.previous
        if wanted is None or wanted == live.version:
            return None
        versions.demand_proven(int(wanted))
        own, other = versions.manifest(live.version), versions.manifest(int(wanted))
    except RagError:
        return None
    return int(wanted) if (own.model, own.layout) == (other.model, other.layout) else None


def share_of(*parts: str) -> float:
    """A number from 0 to 1 that follows from the parts alone, spread evenly."""
    return int(digest_of("arm", *parts)[:12], 16) / 16**12


class ArmMetrics:
    """What Prometheus sees of the arms, while there is a canary."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["knowledge_base", "arm", "index_version", "model"]

        def counter(name: str, text: str) -> Counter:
            return Counter(f"rag_arm_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"rag_arm_{name}", text, labels, buckets=buckets, registry=registry)

        self._answers = counter("answers", "Answers given by an arm")
        self._abstained = counter("abstentions", "Of them those saying that nothing is known")
        self._review = counter("needs_review", "Of them those that a person should look at")
        self._cost = counter("cost_usd", "US dollars paid for them")
        self._failed = Counter(
            "rag_arm_failures",
            "Questions that the canary failed at and the live arm answered",
            labels[:2],
            registry=registry,
        )
        self._seconds = histogram("answer_seconds", "Search and answer together", _SECONDS)
        self._confidence = histogram("confidence", "Confidence of its answers", _CONFIDENCE)

    def answer(self, knowledge_base: str, arm: Arm, answer: Answer) -> None:
        """One answer was made (not taken from the cache)."""
        if not arm.experiment:
            return
        labels = (knowledge_base, arm.name, str(answer.index_version), answer.model)
        self._answers.labels(*labels).inc()
        self._abstained.labels(*labels).inc(answer.abstained)
        self._review.labels(*labels).inc(answer.needs_review)
        self._cost.labels(*labels).inc(answer.cost_usd)
        spent = sum(answer.timings.get(name, 0.0) for name in ("search", "answer"))
        self._seconds.labels(*labels).observe(spent / 1000)
        self._confidence.labels(*labels).observe(answer.confidence)

    def failure(self, knowledge_base: str) -> None:
        """The canary failed, and the live arm answered instead."""
        self._failed.labels(knowledge_base, CANARY).inc()
