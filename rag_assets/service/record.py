"""What is known of one request by its end: for the audit log, the metrics and the trace."""

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag_assets.answering.base import Answer
from rag_assets.service.principals import Principal

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class Record:
    """Filled in as a request goes through the service; written when it is over, however it ends.

    outcome: `completed`, `disconnected` when the caller left, or `failed` when it broke off.
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
            request_id=given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16),
            trace_id=traced[1] if traced else secrets.token_hex(16),
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
        return found | self.details


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
