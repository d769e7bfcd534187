"""The exporter: `/metrics` of knowledge bases over HTTP, beside or far from what refreshes them."""

import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import generate_latest

from rag_assets.config import KnowledgeBaseConfig
from rag_assets.errors import ConfigError
from rag_assets.operations.metrics import CONTENT_TYPE, registry


class Exporter:
    """An HTTP server that answers GET /metrics and /healthz, and nothing else."""

    def __init__(self, configs: Sequence[KnowledgeBaseConfig], host: str, port: int) -> None:
        """Bind the address. Raises: ConfigError when it cannot be had."""
        found = registry(list(configs))
        reading = threading.Lock()  # snapshots remember what they read

        class Handler(BaseHTTPRequestHandler):
            timeout = 10
            server_version, sys_version = "rag-assets", ""

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    with reading:
                        body = generate_latest(found)
                    self._reply(200, body, CONTENT_TYPE)
                elif path == "/healthz":
                    self._reply(200, b"ok\n", "text/plain")
                else:
                    self._reply(404, b"there are /metrics and /healthz\n", "text/plain")

            def _reply(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """A scrape every few seconds is no news."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise ConfigError(
                f"--host {host} --port {port}: {error.strerror}; choose another, or 0 for a free"
                " port"
            ) from error
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def run(self) -> None:
        """Answer until `stop`."""
        try:
            self._server.serve_forever(poll_interval=0.2)
        finally:
            self._server.server_close()

    def stop(self) -> None:
        """End `run`, called from another thread."""
        self._server.shutdown()
