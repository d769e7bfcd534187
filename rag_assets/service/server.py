"""Running the service: uvicorn, in one process or several."""

import ctypes
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import uvicorn

from rag_assets.errors import ConfigError
from rag_assets.service.access import Access
from rag_assets.service.keys import KeyStore
from rag_assets.service.library import Library
from rag_assets.service.logs import log_as_json

_PATHS = "RAG_SERVICE_CONFIGS"
_DRAIN_SECONDS = 30
_M_ARENA_MAX = -8  # of malloc.h
_BACKLOG = 2048
# How long the event loop waits for the interpreter while threads search; the default is 5 ms.
_SWITCH_SECONDS = 0.0005


def run(
    paths: Sequence[str | os.PathLike[str]],
    announce: Callable[[str, Sequence[str]], None],
    host: str = "127.0.0.1",
    port: int = 8080,
    workers: int = 1,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is running.

    paths: the configuration files of the knowledge bases. port: 0 takes a free one. announce:
    called with the address and the names of the knowledge bases once the socket is bound.
    Raises: ConfigError when the service would be open to others, or the address cannot be had.
    """
    library = Library.open(paths)
    Access(library.service, KeyStore.at(library.storage)).check_binding(host)
    files = [str(shelf.config.path) for shelf in library.shelves.values()]
    os.environ[_PATHS] = os.pathsep.join(files)
    config = _Config(
        "rag_assets.service.server:make_app",
        factory=True,
        host=host,
        port=port,
        backlog=_BACKLOG,
        workers=workers,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        h11_max_incomplete_event_size=64 * 1024,
    )
    with _bound(host, port) as listener:
        address, chosen = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        announce(f"http://{shown}:{chosen}", list(library.shelves))
        if workers > 1:
            _serve_in_several(config, listener)
        else:
            uvicorn.Server(config).run(sockets=[listener])


class _Config(uvicorn.Config):
    """How every process serves; uvicorn sets up logging first of all, in each worker anew."""

    def configure_logging(self) -> None:
        """JSON lines; and a signal that uvicorn passes on after it has drained is a success."""
        log_as_json()
        _share_heaps()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)


def _share_heaps() -> None:
    """Let all threads share two heaps, where the C library is glibc.

    By default each thread gets one of its own, which keeps what closed index versions leave in it:
    After 18 changes of version a service held 145 MB more than before, and 91 like this.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, 2)


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def make_app() -> object:
    """The application of the files that `run` was given; called in every worker."""
    from rag_assets.service.app import create_app

    sys.setswitchinterval(_SWITCH_SECONDS)
    return create_app(os.environ[_PATHS].split(os.pathsep))


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket, so that the address is known before models and indexes are loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)  # whoever reads the printed address may connect at once
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"--host {host} --port {port}: {error.strerror}; choose another, or 0 for a free port"
        ) from error
    listener.set_inheritable(True)
    return listener


def _serve_in_several(config: uvicorn.Config, listener: socket.socket) -> None:
    from uvicorn.supervisors import Multiprocess

    with tempfile.TemporaryDirectory(prefix="rag-metrics-") as counted:
        # Must be set before the workers import prometheus_client.
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(Path(counted)))
        Multiprocess(config, [listener]).run()
