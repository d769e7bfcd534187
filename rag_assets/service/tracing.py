"""OpenTelemetry spans of a question: request → retrieval → model; only where an exporter is set.

An exporter is set by the standard variables: OTEL_EXPORTER_OTLP_ENDPOINT (or its _TRACES_ form),
with OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_SERVICE_NAME and so on. The child spans are made when the
answer is known, from the times it took; no span holds any text of a question or an answer.
"""

import os
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

from rag_assets.errors import ConfigError
from rag_assets.service.record import Record

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class Tracing(Protocol):
    """Begins and ends the spans of requests."""

    def begin(self, record: Record, headers: Mapping[str, str]) -> Any:
        """A span for the request, which becomes the record's trace; handed back to `end`."""

    def end(self, span: Any, record: Record) -> None:
        """Complete the span with what the record says by now."""

    def close(self) -> None:
        """Send what has not been sent."""


class NoTracing:
    """Nothing is exported, so nothing is made."""

    def begin(self, record: Record, headers: Mapping[str, str]) -> None:
        """No span."""

    def end(self, span: Any, record: Record) -> None:
        """No span."""

    def close(self) -> None:
        """Nothing to send."""


class OtelTracing:
    """Spans through the OpenTelemetry SDK."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("rag_assets", version("rag-assets"))

    def begin(self, record: Record, headers: Mapping[str, str]) -> Any:
        """A server span, child of the caller's traceparent."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract(dict(headers))
        span = self._tracer.start_span(
            f"{record.method} {record.path}", parent, kind=SpanKind.SERVER
        )
        record.trace_id = f"{span.get_span_context().trace_id:032x}"
        return span

    def end(self, span: Any, record: Record) -> None:
        """Name, attributes and status of the request, and the spans within it."""
        from opentelemetry.trace import Status, StatusCode

        span.update_name(f"{record.method} {record.endpoint}")
        attributes = {
            "http.request.method": record.method,
            "http.route": record.endpoint,
            "http.response.status_code": record.status,
            "rag.request_id": record.request_id,
            "rag.outcome": record.outcome,
            "rag.knowledge_base": record.knowledge_base,
            "rag.index_version": record.index_version,
            "rag.cached": record.cached if record.answer is not None else None,
        }
        span.set_attributes({name: v for name, v in attributes.items() if v is not None})
        if record.status >= 500 or record.outcome != "completed":
            span.set_status(Status(StatusCode.ERROR, record.error or record.outcome))
        if not record.cached:
            self._phases(span, record)
        span.end()

    def _phases(self, parent: Any, record: Record) -> None:
        """Retrieval and generation, laid back from now by the times they took."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        context = set_span_in_context(parent)
        end = time.time_ns()
        taken = 0.0 if record.answer is None else record.answer.timings.get("answer", 0.0)
        written = end if record.writing_since is None else record.writing_since + int(taken * 1e6)
        called = record.writing_since or written - int(taken * 1e6)
        if record.searched is not None:
            retrieval = self._tracer.start_span(
                "retrieval",
                context,
                start_time=called - int(record.searched * 1e6),
                attributes={
                    "rag.index_version": record.index_version or 0,
                    "rag.passages": len(record.chunk_ids),
                },
            )
            retrieval.end(called)
        attributes = _of_chat(record)
        if attributes is None:
            return
        chat = self._tracer.start_span(
            f"chat {attributes['gen_ai.request.model']}",
            context,
            kind=SpanKind.CLIENT,
            start_time=called,
            attributes=attributes,
        )
        if record.error or record.outcome != "completed":
            chat.set_status(Status(StatusCode.ERROR, record.error or record.outcome))
        chat.end(end if record.answer is None else written)

    def close(self) -> None:
        """Send what has not been sent."""
        self._provider.shutdown()


def _of_chat(record: Record) -> dict[str, str | int | float | bool] | None:
    """The attributes of the model's span, also of a reply that broke off; None without a model."""
    answer, paid = record.answer, [entry for entry in record.paid if entry.kind == "answer"]
    if answer is None and not paid:
        return None
    attributes: dict[str, str | int | float | bool] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": paid[-1].model if answer is None else answer.model,
        "gen_ai.usage.input_tokens": sum(entry.tokens for entry in paid),
        "gen_ai.usage.output_tokens": sum(entry.completion_tokens for entry in paid),
        "rag.cost_usd": sum(entry.usd for entry in paid),
    }
    if answer is None:
        return attributes
    return attributes | {
        "gen_ai.usage.input_tokens": answer.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": answer.usage.completion_tokens,
        "rag.degraded": answer.degraded,
        "rag.abstained": answer.abstained,
    }


def open_tracing() -> Tracing:
    """Tracing as the environment says. Raises: ConfigError when its exporter is not installed."""
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return NoTracing()
    named = next((name for name in _PROTOCOLS if os.environ.get(name)), _PROTOCOLS[-1])
    protocol = os.environ.get(named) or "grpc"
    if protocol not in ("grpc", "http/protobuf"):
        raise ConfigError(f"{named}: expected grpc or http/protobuf, found {protocol}")
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

        exporter: SpanExporter
        if protocol == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter()
        else:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
                OTLPSpanExporter as HttpExporter,
            )

            exporter = HttpExporter()
    except ImportError as error:
        raise ConfigError(
            f"{named}={protocol}: {error.name} is not installed; pip install"
            f" opentelemetry-exporter-otlp-proto-{protocol.split('/')[0]}"
        ) from error
    name = os.environ.get("OTEL_SERVICE_NAME", "rag-assets")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return OtelTracing(provider)
