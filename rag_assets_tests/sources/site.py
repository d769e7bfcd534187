"""A web server on a loopback port whose pages tests write and change."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0  # bytes that are announced but never sent


class Site(ThreadingHTTPServer):
    """pages: path with query → Answer, or a function from the request's headers to one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Answer | Callable[[dict[str, str]], Answer]] = {}
        self.posts: dict[str, Callable[[dict], Answer]] = {}  # path → answer to a JSON object
        # path → answer to the parameters and the headers of a GET
        self.apis: dict[str, Callable[[dict[str, str], dict[str, str]], Answer]] = {}
        self.requests: list[str] = []
        self.sent = 0  # bytes of bodies
        self.trouble: Callable[[], Answer | None] = lambda: None

    @contextmanager
    def troubled(self, trouble: Callable[[int], Answer | None]) -> Iterator[list[int]]:
        """While it lasts, requests from number 0 on are answered by `trouble`, and as always where
        it says nothing; gives the numbers of the requests that came."""
        seen: list[int] = []

        def asked() -> Answer | None:
            seen.append(len(seen))
            return trouble(seen[-1])

        self.trouble = asked
        try:
            yield seen
        finally:
            self.trouble = lambda: None

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def page(self, path: str, html: str, **headers: str) -> None:
        """A page with an ETag that answers conditional requests."""
        etag = f'"{hash(html):x}"'

        def answer(request: dict[str, str]) -> Answer:
            if request.get("if-none-match") == etag:
                return Answer(status=304)
            kind = {"Content-Type": "text/html; charset=utf-8", "ETag": etag, **headers}
            return Answer(html.encode(), headers=kind)

        self.pages[path] = answer


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        sent = {name.lower(): value for name, value in self.headers.items()}
        troubled = self.server.trouble()
        if troubled is not None:
            self._send(troubled)
            return
        address = urlsplit(self.path)
        if address.path in self.server.apis:
            query = dict(parse_qsl(address.query))
            self._send(self.server.apis[address.path](query, sent))
            return
        found = self.server.pages.get(self.path, Answer(status=404))
        answer = found if isinstance(found, Answer) else found(sent)
        self._send(answer)

    def do_POST(self) -> None:
        self.server.requests.append(self.path)
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        troubled = self.server.trouble()
        answer = self.server.posts.get(self.path, lambda asked: Answer(status=404))
        self._send(troubled or answer(asked))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body) + answer.cut))
        self.end_headers()
        self.server.sent += len(answer.body)
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        return


def as_json(value: object, **headers: str) -> Answer:
    """An answer that is this value in JSON."""
    return Answer(
        json.dumps(value).encode(), headers={"Content-Type": "application/json", **headers}
    )


@contextmanager
def serving() -> Iterator[Site]:
    """The site, running."""
    site = Site()
    thread = threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.shutdown()
        thread.join()
        site.server_close()
