"""A lease in the bucket: one machine works on a storage at a time, and others need not begin.

    PREFIX/LEASE.json      who is at work; put anew again and again for as long as it is

It saves work and guards nothing: what is published is guarded by HEAD.json alone. A machine that
stops renewing, because it died or was suspended, loses the lease to the next one, which replaces
HEAD.json as well, so that whatever the first one does later is refused.
"""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from rag_assets.errors import Busy
from rag_assets.mirror.bucket import Bucket, Overtaken, failures

log = logging.getLogger(__name__)

LASTS = 60.0  # seconds after which a lease that is not renewed counts as abandoned
_NAME = "LEASE.json"
_LONG_AGO = 10  # times LASTS: so old by its own date that clocks need not agree


class Lease:
    """The right to work on a storage."""

    def __init__(self, bucket: Bucket, holder: str, lasts: float = LASTS) -> None:
        self._bucket = bucket
        self._holder = holder
        self._lasts = lasts
        self._etag = ""

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Keep the lease, from a thread of its own, and give it back in the end."""
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(ended,), name="lease", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            self._release()

    def acquire(self, patience: float) -> None:
        """Get the lease. Raises: Busy when others have it for longer than `patience` seconds."""
        began = seen_at = time.monotonic()
        seen = ""
        while True:
            found = self._bucket.read(_NAME)
            etag = found[1] if found else None
            if etag != seen:
                seen, seen_at = etag or "", time.monotonic()
            holder = str(json.loads(found[0])["holder"]) if found else ""
            # A leftover of this very machine: its processes are kept apart by a lock on its disk.
            mine = holder in {"", self._holder}
            if mine or self._abandoned(time.monotonic() - seen_at):
                try:
                    self._put(self._holder, etag)
                except Overtaken:
                    continue
                if not mine:
                    log.warning(
                        "%s: took over the work of %s, which went silent", self._url, holder
                    )
                    self._shut_out()
                return
            if time.monotonic() - began > patience:
                raise Busy(
                    f"{self._url}: {holder} is at work on it; waited {patience:.0f} s, try again"
                    " when it is done"
                )
            time.sleep(min(1.0, self._lasts / 10))

    def _abandoned(self, unchanged: float) -> bool:
        """Whether nobody renewed the lease while this machine looked on, or for very long."""
        if unchanged > self._lasts:
            return True
        modified = self._bucket.modified(_NAME)
        ago = datetime.now(UTC) - modified if modified else timedelta(0)
        return ago > timedelta(seconds=_LONG_AGO * self._lasts)

    def _shut_out(self) -> None:
        """Replace HEAD.json by itself, so that who worked from it cannot publish any more."""
        while (head := self._bucket.head()) is not None:
            try:
                self._bucket.put_head(head, head)
            except Overtaken:
                continue
            return

    def _renew(self, ended: threading.Event) -> None:
        while not ended.wait(self._lasts / 4):
            try:
                self._put(self._holder, self._etag)
            except Overtaken:
                log.warning("%s: another machine took over; what is done here is lost", self._url)
                return
            except failures() as error:
                log.warning("%s: the lease was not renewed: %s", self._url, error)

    def _release(self) -> None:
        try:
            self._put("", self._etag)
        except Exception as error:  # noqa: BLE001 - it runs out by itself
            log.warning("%s: the lease was not given back: %s", self._url, error)

    def _put(self, holder: str, etag: str | None) -> None:
        # Different each time: an ETag is a digest of the bytes.
        said = {"holder": holder, "at": time.time_ns()}
        self._etag = self._bucket.put_if(_NAME, json.dumps(said).encode(), etag)

    @property
    def _url(self) -> str:
        return self._bucket.url
