"""What every request passes on its way in and out, as pure ASGI: 0.1 ms, where Starlette's
function middleware more than halves the throughput of an empty endpoint.

In: who is asking, how much of it they may, how large and for how long. Out: the request's id, the
metrics, the line of the audit log; also when the caller left or something broke.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_assets.config import LimitsConfig
from rag_assets.costs import charged_to, spent_here
from rag_assets.errors import StorageError
from rag_assets.service.access import Access
from rag_assets.service.audit import AuditLog
from rag_assets.service.errors import Refused, refusal_of
from rag_assets.service.limits import Limits
from rag_assets.service.logs import request_id
from rag_assets.service.metrics import Metrics
from rag_assets.service.record import Record
from rag_assets.service.tracing import Tracing

log = logging.getLogger(__name__)

_STREAM_GRACE = 5.0  # seconds; a stream ends itself in time, with an event that says so
_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


@dataclass(frozen=True)
class GateKeeping:
    """What the gate works with."""

    access: Access
    limits: Limits
    audit: AuditLog
    metrics: Metrics
    tracing: Tracing
    allowed: LimitsConfig


class Gate:
    """The middleware; the request's `Record` is at `request.state.record`."""

    def __init__(self, app: ASGIApp, keeping: GateKeeping) -> None:
        self._app = app
        self._keeping = keeping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        client = scope["client"][0] if scope.get("client") else None
        record = Record.begun(scope["method"], scope["path"], headers, client)
        scope.setdefault("state", {})["record"] = record
        request_id.set(record.request_id)
        span = self._keeping.tracing.begin(record, headers)
        reply = _Reply(send, record, lambda: self._finish(scope, record, reply, span))
        try:
            async with asyncio.timeout(self._keeping.allowed.seconds) as deadline:
                reply.deadline = deadline
                await self._serve(scope, receive, reply, headers, record)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets the one shape
            refusal = refusal_of(error)
            record.error = refusal.message
            reply.deadline = None
            if not reply.begun:
                await refusal.response()(scope, receive, reply)
        finally:
            if not reply.complete:
                self._finish(scope, record, reply, span)

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        reply: "_Reply",
        headers: Mapping[str, str],
        record: Record,
    ) -> None:
        path = scope["path"]
        if _needs_principal(path):
            record.principal = await self._keeping.access.principal(headers, record.client)
            # For every task that this request starts: streams are pumped in tasks of their own.
            charged_to.set(record.principal.id)
            spent_here.set(record.paid)
            if path != "/metrics":
                await self._keeping.limits.admit(record.principal)
        allowed = self._keeping.allowed
        pushing = path.startswith("/v1/documents/")
        body = _Body(receive, allowed.document_bytes if pushing else allowed.request_bytes)
        body.check_announced(headers)
        await self._app(scope, body, reply)

    def _finish(self, scope: Scope, record: Record, reply: "_Reply", span: Any) -> None:
        record.status = reply.status
        if reply.complete and not (record.error and reply.status < 400):
            record.outcome = "completed"
        elif reply.begun and record.error is None:
            record.outcome = "disconnected"
        route = scope.get("route")
        record.endpoint = getattr(route, "path", None) or "other"
        self._keeping.metrics.request(record)
        self._keeping.tracing.end(span, record)
        if _is_audited(scope["path"]):
            self._audit(record)

    def _audit(self, record: Record) -> None:
        audit = self._keeping.audit
        try:
            asked = record.question or ""
            said = audit.answer(asked, record.answer)
            audit.append(record.as_json(audit.question(asked)) | said)
        except StorageError as error:
            self._keeping.metrics.audit_failure()
            log.error("request %s: %s", record.request_id, error)


class _Reply:
    """Sends a response, adding headers, and knows how far it came."""

    def __init__(self, send: Send, record: Record, finish: Callable[[], None]) -> None:
        self._send = send
        self._record = record
        self._finish = finish
        self.status = 0
        self.begun = False
        self.complete = False
        self.deadline: asyncio.Timeout | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            when = None if self.deadline is None else self.deadline.when()
            if self.deadline is not None and when is not None:
                self.deadline.reschedule(when + _STREAM_GRACE)
            message["headers"] = [*message.get("headers", []), *_SECURITY, *self._own()]
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            # First the audit line, then the last byte: nothing is answered that is not logged.
            self.complete = True
            self._finish()
        await self._send(message)

    def _own(self) -> list[tuple[bytes, bytes]]:
        found = [(b"x-request-id", self._record.request_id.encode())]
        if self._record.index_version is not None:
            found.append((b"x-index-version", str(self._record.index_version).encode()))
        if self._record.answer is not None and self._record.answer.degraded:
            found.append((b"x-degraded", b"true"))
        return found


class _Body:
    """Receives a request, refusing more bytes than are allowed."""

    def __init__(self, receive: Receive, allowed: int) -> None:
        self._receive = receive
        self._allowed = allowed
        self._seen = 0

    def check_announced(self, headers: Mapping[str, str]) -> None:
        """Refuse by the announced length, before any of it is read."""
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._allowed:
            raise self._too_large()

    async def __call__(self) -> Message:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self._allowed:
            raise self._too_large()
        return message

    def _too_large(self) -> Refused:
        return Refused(413, f"the body is larger than the {self._allowed} bytes that are allowed")


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _needs_principal(path: str) -> bool:
    return path.startswith("/v1/") or path in ("/mcp", "/metrics")


def _is_audited(path: str) -> bool:
    return path.startswith("/v1/") or path == "/mcp"
