"""A small S3 server on a loopback port: ListObjectsV2 in pages, GET, PUT without conditions, and
failures on demand.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from rag_assets.config import FilesConfig


class Bucket(ThreadingHTTPServer):
    """objects: key → bytes. headers: of each request. fail_from_page: from this page on the listing
    answers 403."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.headers: list[dict[str, str]] = []
        self.page_size = 2
        self.fail_from_page: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Bucket

    def do_GET(self) -> None:
        self.server.headers.append(dict(self.headers))
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        key = unquote(address.path).lstrip("/").partition("/")[2]
        if "list-type" in query:
            self._list(query)
        elif key in self.server.objects:
            data = self.server.objects[key]
            self._send(200, data, ETag=_etag(data), **{"Last-Modified": _HTTP_DATE})
        else:
            self._send(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_PUT(self) -> None:
        """Puts whatever the conditions of the request are."""
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.objects[unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]] = data
        self._send(200, b"", ETag=_etag(data))

    def do_POST(self) -> None:
        """Takes a request to delete objects, and deletes none."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send(200, b"<DeleteResult><Deleted><Key>none</Key></Deleted></DeleteResult>")

    def _list(self, query: dict[str, list[str]]) -> None:
        page = int(query.get("continuation-token", ["0"])[0])
        failing = self.server.fail_from_page
        if failing is not None and page >= failing:
            self._send(403, b"<Error><Code>AccessDenied</Code></Error>")
            return
        prefix = query.get("prefix", [""])[0]
        keys = sorted(key for key in self.server.objects if key.startswith(prefix))
        size = self.server.page_size
        shown, more = keys[page * size : (page + 1) * size], len(keys) > (page + 1) * size
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.server.objects[key])}</Size>"
            f"<LastModified>2026-05-01T10:00:00.000Z</LastModified>"
            f"<ETag>{escape(_etag(self.server.objects[key]))}</ETag></Contents>"
            for key in shown
        )
        next_page = f"<NextContinuationToken>{page + 1}</NextContinuationToken>" if more else ""
        body = (
            "<ListBucketResult><Name>bucket</Name>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{next_page}{contents}"
            "</ListBucketResult>"
        )
        self._send(200, body.encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


_HTTP_DATE = "Fri, 01 May 2026 10:00:00 GMT"


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


@contextmanager
def serving() -> Iterator[Bucket]:
    """The server, running."""
    bucket = Bucket()
    thread = threading.Thread(target=bucket.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield bucket
    finally:
        bucket.shutdown()
        thread.join()
        bucket.server_close()


def environment(bucket: Bucket) -> dict[str, str]:
    """What a client of S3 is told through its environment."""
    return {
        "AWS_ENDPOINT_URL": bucket.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }


class World:
    """Objects below kb/, as the contract of sources writes and breaks them."""

    def __init__(self, bucket: Bucket, path: str) -> None:
        self.bucket = bucket
        self.path = path

    def config(self) -> FilesConfig:
        return FilesConfig(name="s", type="files", path=self.path)

    def put(self, name: str, text: str) -> None:
        self.bucket.objects[f"kb/{name}.md"] = text.encode()

    def delete(self, name: str) -> None:
        del self.bucket.objects[f"kb/{name}.md"]

    @contextmanager
    def broken(self) -> Iterator[None]:
        self.bucket.fail_from_page = 1
        yield
        self.bucket.fail_from_page = None
