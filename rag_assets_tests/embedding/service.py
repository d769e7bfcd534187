"""A small OpenAI-compatible embedding service on a free loopback port, whose moods can be set."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DIMENSION = 8


def service_vector(text: str, dimension: int = DIMENSION) -> list[float]:
    """Three times the unit vector that the service has for a text."""
    digest = hashlib.sha256(text.encode()).digest()
    raw = [byte - 127.5 for byte in digest[:dimension]]
    length = sum(value * value for value in raw) ** 0.5
    return [3 * value / length for value in raw]


class EmbeddingService(ThreadingHTTPServer):
    """Answers POST /v1/embeddings; `moods` are taken from the front, one a request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.inputs: list[list[str]] = []
        self.bodies: list[dict] = []
        self.keys: list[str] = []
        self.moods: list[tuple[int, dict[str, str]]] = []
        self.tokens_per_text: int | None = 5
        self.reply = lambda data: data

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: EmbeddingService

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.keys.append(self.headers.get("Authorization", ""))
        if self.server.moods:
            status, headers = self.server.moods.pop(0)
            if status != 200:
                self._send(status, {"error": {"message": f"mood {status}"}}, headers)
                return
        self.server.inputs.append(body["input"])
        self.server.bodies.append(body)
        dimension = body.get("dimensions", DIMENSION)
        data = [
            {"object": "embedding", "index": n, "embedding": service_vector(text, dimension)}
            for n, text in enumerate(body["input"])
        ]
        answer = {"object": "list", "model": body["model"], "data": self.server.reply(data[::-1])}
        if self.server.tokens_per_text is not None:
            count = self.server.tokens_per_text * len(data)
            answer["usage"] = {"prompt_tokens": count, "total_tokens": count}
        self._send(200, answer, {})

    def _send(self, status, body, headers):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Silent: the test's output is the test's."""


@contextmanager
def running_service() -> Iterator[EmbeddingService]:
    server = EmbeddingService()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
