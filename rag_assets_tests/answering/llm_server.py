"""A real OpenAI-compatible HTTP server on a free loopback port, behaving as the model name says."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rag_assets_tests.answering.gullible import reply_of

REPLY = "Full-time staff receive 28 days of annual leave [1]. Unused days lapse in March [7]."


class LlmServer:
    """What the server was asked, and the reply it gives.

    Model names: `ok`, `401`, `404`, `429` (with Retry-After: 0), `429-once`, `500`, `500-once`,
    `slow` (never answers until released), `cut` (breaks a stream off when released), `held` (pauses
    a stream until released), `garbage`, `empty`, `abstain`; `gullible` and `careful` obey what they
    read (see gullible.py). `behaviour` stands in for the model's name, for one with a price.
    """

    def __init__(self) -> None:
        self.requests: list[dict] = []
        self.keys: list[str] = []
        self.reply = REPLY
        self.behaviour: str | None = None
        self.release = threading.Event()
        self.seen: Counter[str] = Counter()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def _handler(outer) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append(body)
                outer.keys.append(self.headers.get("Authorization", ""))
                kind = outer.behaviour or body["model"]
                outer.seen[kind] += 1
                first = outer.seen[kind] == 1
                if kind in ("401", "404", "429", "500") or (kind.endswith("-once") and first):
                    self._error(int(kind[:3]))
                elif kind == "slow":
                    outer.release.wait(20)
                    self.close_connection = True
                elif kind == "garbage":
                    self._send(200, b"<html>no</html>", "text/html")
                elif body.get("stream"):
                    self._stream(kind, self._text(kind, body))
                else:
                    self._whole(kind, self._text(kind, body))

            def _text(self, kind: str, body: dict) -> str:
                if kind in ("gullible", "careful"):
                    return reply_of(kind, body["messages"])
                return {"empty": "", "abstain": "NOT_IN_KNOWLEDGE_BASE"}.get(kind, outer.reply)

            def _error(self, status: int) -> None:
                message = f"Incorrect API key provided: {self.headers.get('Authorization')}"
                data = json.dumps({"error": {"message": message, "type": "t", "code": status}})
                headers = {"Retry-After": "0"} if status in (429, 500) else {}
                self._send(status, data.encode(), "application/json", headers)

            def _whole(self, kind: str, text: str) -> None:
                message = {"role": "assistant", "content": text}
                data = {
                    "id": "x",
                    "object": "chat.completion",
                    "created": 1,
                    "model": kind,
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 70, "completion_tokens": 11, "total_tokens": 81},
                }
                self._send(200, json.dumps(data).encode(), "application/json")

            def _stream(self, kind: str, text: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                pieces = [text[i : i + 5] for i in range(0, len(text), 5)]
                for place, piece in enumerate(pieces):
                    if kind in ("cut", "held") and place == 6:
                        outer.release.wait(20)
                    if kind == "cut" and place == 6:
                        self.close_connection = True
                        return
                    self._event({"choices": [{"index": 0, "delta": {"content": piece}}]})
                self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
                usage = {"prompt_tokens": 70, "completion_tokens": 11, "total_tokens": 81}
                self._event({"choices": [], "usage": usage})
                self._chunk(b"data: [DONE]\n\n")
                self._chunk(b"")

            def _event(self, data: dict) -> None:
                frame = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
                self._chunk(b"data: " + json.dumps(frame | data).encode() + b"\n\n")

            def _chunk(self, data: bytes) -> None:
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()

            def _send(self, status, data, kind, headers=None) -> None:
                self.send_response(status)
                for name, value in {**(headers or {}), "Content-Type": kind}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args) -> None:
                """Say nothing."""

        return Handler


@contextmanager
def llm_server() -> Iterator[LlmServer]:
    server = LlmServer()
    thread = threading.Thread(target=server.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.server.shutdown()
        server.server.server_close()
