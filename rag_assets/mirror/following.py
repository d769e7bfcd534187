"""Readers: the index of a working directory, kept at what was published last."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from rag_assets.errors import StorageError
from rag_assets.mirror.mirror import LIVE, Mirror
from rag_assets.mirror.working import INDEX

log = logging.getLogger(__name__)


class Follower:
    """Pulls the index from a thread of its own.

    A refresh on the same machine goes before: it pulls and publishes itself. after: what is called
    at the first pull, and whenever something was pulled.
    """

    def __init__(
        self,
        mirror: Mirror,
        directory: str | Path,
        every: float = 5.0,
        after: Callable[[], object] | None = None,
    ) -> None:
        self._mirror = mirror
        self._lock = Path(directory) / ".refresh.lock"
        self._every = every
        self._after = after
        self._began = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        """Pull once, then go on in the background. Raises: StorageError when the first pull fails
        and nothing is here to read from."""
        try:
            self.pull()
        except StorageError as error:
            if not (self._lock.parent / LIVE).exists():
                raise
            log.warning("reading what is here: %s", error)
        self._thread.start()

    def pull(self) -> bool:
        """Pull the index, unless a refresh is running here."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._lock, timeout=0):
                pulled = self._mirror.pull(INDEX)
        except Timeout:
            return False
        if self._after is not None and (pulled or not self._began):
            self._began = True
            self._after()
        return pulled

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            try:
                self.pull()
            except (StorageError, OSError) as error:
                log.warning("the index stays as it is: %s", error)
