"""What is known of one request by its end: for the audit log, the metrics and the trace."""

import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag_assets.answering.base import Answer
from rag_assets.costs import Entry
from rag_assets.service.principals import Principal

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_IDS = random.Random()  # a name, not a secret; asking the system for each costs the event loop
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class Record:
    """Filled in as a request goes through the service; written when it is over, however it ends.

    outcome: `completed`, `disconnected` when the caller left, or `failed` when it broke off.
    searched: milliseconds that finding passages took. writing_since: when a model was called, in
    nanoseconds since the epoch, where that is known. paid: what models were paid for it so far.
    """

    request_id: str
    trace_id: str
    method: str
    path: str
    client: str | None
    started: float = field(default_factory=time.perf_counter)
    endpoint: str = "other"
    principal: Principal | None = None
    status: int = 0
    outcome: str = "failed"
    knowledge_base: str | None = None
    question: str | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)
    chunk_ids: Sequence[str] = ()
    index_version: int | None = None
    answer: Answer | None = None
    searched: float | None = None
    writing_since: int | None = None
    paid: list[Entry] = field(default_factory=list)
    cached: bool = False
    error: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def begun(
        cls, method: str, path: str, headers: Mapping[str, str], client: str | None
    ) -> "Record":
        """The record of a request that has just come in.

        The caller's x-request-id and traceparent are taken over where they are well formed.
        """
        given = headers.get("x-request-id", "")
        traced = _TRACE_PARENT.fullmatch(headers.get("traceparent", ""))
        return cls(
            request_id=given if _REQUEST_ID.fullmatch(given) else _new_id(),
            trace_id=traced[1] if traced else _new_id(),
            method=method,
            path=path,
            client=client,
        )

    @property
    def seconds(self) -> float:
        """Since the request came in."""
        return time.perf_counter() - self.started

    def as_json(self, question: Mapping[str, str]) -> dict[str, Any]:
        """The line of the audit log. question: as the log may keep it."""
        who = self.principal
        found: dict[str, Any] = {
            "request_id": self.request_id,
            "trace_id": self.trace_id,
            "method": self.method,
            "path": self.path,
            "client": self.client,
            "principal": None if who is None else who.id,
            "principal_name": None if who is None else who.name,
            "tenant": None if who is None else who.tenant,
            "status": self.status,
            "outcome": self.outcome,
            "milliseconds": round(self.seconds * 1000, 3),
        }
        if self.error:
            found["error"] = self.error
        if self.knowledge_base is not None:
            found["knowledge_base"] = self.knowledge_base
        if self.question is not None:
            found |= {**question, "filters": dict(self.filters)}
        if self.index_version is not None:
            found |= {"index_version": self.index_version, "chunk_ids": list(self.chunk_ids)}
        if self.answer is not None:
            found |= {"cached": self.cached, **_of_answer(self.answer)}
        elif self.paid:
            found |= _of_payments(self.paid)
        return found | self.details


def _new_id() -> str:
    return f"{_IDS.getrandbits(128):032x}"


def _of_payments(paid: Sequence[Entry]) -> dict[str, Any]:
    """What was paid for what is no answer: one that broke off, a search with a paid model."""
    return {
        "model": paid[-1].model,
        "prompt_tokens": sum(entry.tokens for entry in paid),
        "completion_tokens": sum(entry.completion_tokens for entry in paid),
        "cost_usd": sum(entry.usd for entry in paid),
    }


def _of_answer(answer: Answer) -> dict[str, Any]:
    """What is kept of an answer; not its text, which the chunk ids and version explain."""
    return {
        "model": answer.model,
        "prompt_version": answer.prompt_version,
        "prompt_tokens": answer.usage.prompt_tokens,
        "completion_tokens": answer.usage.completion_tokens,
        "cost_usd": answer.cost_usd,
        "verdicts": {
            "confidence": round(answer.confidence, 4),
            "needs_review": answer.needs_review,
            "abstained": answer.abstained,
            "degraded": answer.degraded,
            "dropped_citations": answer.dropped_citations,
            "unproven_claims": answer.unproven_claims,
            "removed_links": answer.removed_links,
        },
        "cited_chunk_ids": [citation.chunk_id for citation in answer.citations],
        "timings": {name: round(ms, 3) for name, ms in answer.timings.items()},
    }
