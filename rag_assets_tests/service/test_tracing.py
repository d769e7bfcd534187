"""Spans, as a real OTLP collector receives them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from rag_assets.errors import ConfigError
from rag_assets.service.tracing import NoTracing, open_tracing
from rag_assets_tests.service.conftest import Base

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span that it is sent."""

    def __init__(self) -> None:
        self.spans: list = []
        self.received = threading.Event()

    def Export(self, request, context):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        self.received.set()
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    server = grpc.server(ThreadPoolExecutor(2))
    collector = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    yield collector
    server.stop(None)


def test_a_question_is_a_request_a_retrieval_and_a_model(
    base: Base, collector: Collector, serve
) -> None:
    client = serve(base)
    client.post(
        "/v1/answer",
        json={"question": "Who answers requests concerning payroll?"},
        headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
    )
    while len(collector.spans) < 3:
        assert collector.received.wait(30)
        collector.received.clear()
    spans = {span.name: span for span in collector.spans}
    assert set(spans) == {"POST /v1/answer", "retrieval", "chat extractive"}
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    request = spans["POST /v1/answer"]
    assert request.parent_span_id.hex() == "00f067aa0ba902b7"
    for name in ("retrieval", "chat extractive"):
        assert spans[name].parent_span_id == request.span_id
    assert spans["retrieval"].end_time_unix_nano <= spans["chat extractive"].end_time_unix_nano
    attributes = {a.key: a.value for a in spans["chat extractive"].attributes}
    assert attributes["gen_ai.request.model"].string_value == "extractive"
    assert attributes["gen_ai.usage.input_tokens"].int_value > 0
    assert "payroll" not in str(collector.spans)
    [line] = base.audit()
    assert line["trace_id"] == TRACE


def test_without_an_exporter_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert isinstance(open_tracing(), NoTracing)


def test_an_exporter_that_does_not_exist_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/none")
    with pytest.raises(ConfigError, match="expected grpc or http/protobuf, found http/none"):
        open_tracing()
