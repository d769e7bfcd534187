"""Spans, as a real OTLP collector receives them."""

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from rag_assets.errors import ConfigError
from rag_assets.service.tracing import NoTracing, open_tracing
from rag_assets_tests.answering.llm_server import llm_server
from rag_assets_tests.service.conftest import Base, until_text

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span that it is sent, over gRPC or HTTP."""

    def __init__(self) -> None:
        self.spans: list = []
        self.received = threading.Event()

    def Export(self, request, context):
        self.keep(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    def keep(self, request) -> None:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        self.received.set()

    def named(self, *names: str) -> dict:
        """The spans of these names, once all of them have come."""
        while not set(names) <= {span.name for span in self.spans}:
            assert self.received.wait(30), [span.name for span in self.spans]
            self.received.clear()
        return {span.name: span for span in self.spans}


def attributes(span) -> dict:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


@contextmanager
def over_grpc(collector: Collector) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None)


@contextmanager
def over_http(collector: Collector) -> Iterator[str]:
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.keep(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=["grpc", "http/protobuf"])
def collector(request, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    found = Collector()
    opened = over_grpc(found) if request.param == "grpc" else over_http(found)
    with opened as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", request.param)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        yield found


def test_a_question_is_a_request_a_retrieval_and_a_model(
    base: Base, collector: Collector, serve
) -> None:
    client = serve(base)
    client.post(
        "/v1/answer",
        json={"question": "Who answers requests concerning payroll?"},
        headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
    )
    spans = collector.named("POST /v1/answer", "retrieval", "chat extractive")
    assert len(collector.spans) == 3
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    request = spans["POST /v1/answer"]
    assert request.parent_span_id.hex() == "00f067aa0ba902b7"
    for name in ("retrieval", "chat extractive"):
        assert spans[name].parent_span_id == request.span_id
        assert spans[name].start_time_unix_nano >= request.start_time_unix_nano
    retrieval, chat = spans["retrieval"], spans["chat extractive"]
    assert retrieval.end_time_unix_nano <= chat.start_time_unix_nano
    assert attributes(retrieval)["rag.index_version"] == 1
    assert attributes(chat)["gen_ai.request.model"] == "extractive"
    assert attributes(chat)["gen_ai.usage.input_tokens"] > 0
    assert "payroll" not in str(collector.spans)
    [line] = base.audit()
    assert line["trace_id"] == TRACE


def test_searches_and_streams_that_break_off_have_their_spans(
    base: Base, collector: Collector, serve
) -> None:
    with llm_server() as models:
        base.configure(llm={"model": "openai/cut", "api_base": models.url, "api_key": "sk-hidden"})
        client = serve(base)
        client.post("/v1/search", json={"query": "payroll"})
        question = {"question": "Who answers requests concerning payroll?", "stream": True}
        with client.stream("POST", "/v1/answer", json=question) as reply:
            lines = reply.iter_lines()
            until_text(lines)
            models.release.set()
            assert "event: error" in list(lines)
        spans = collector.named("POST /v1/search", "POST /v1/answer", "chat openai/cut")
    names = [span.name for span in collector.spans]
    assert sorted(names) == [
        "POST /v1/answer",
        "POST /v1/search",
        "chat openai/cut",
        "retrieval",
        "retrieval",
    ]
    for name in ("POST /v1/answer", "chat openai/cut"):
        assert spans[name].status.code == 2
        assert "broke off half-way" in spans[name].status.message
    assert attributes(spans["chat openai/cut"])["gen_ai.usage.output_tokens"] > 0
    assert "payroll" not in str(collector.spans)
    assert "sk-hidden" not in str(collector.spans)


def test_without_an_exporter_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert isinstance(open_tracing(), NoTracing)


def test_an_exporter_that_does_not_exist_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/none")
    with pytest.raises(ConfigError, match="expected grpc or http/protobuf, found http/none"):
        open_tracing()
