"""What a source was told, batch by batch, in the bucket of a storage: other machines go on from it.

    PREFIX/kept/NAME/HEAD.json             how far it goes and which objects count; put on condition
    PREFIX/kept/NAME/NUMBER-NONCE.batch    one batch, as its source wrote it
    PREFIX/kept/NAME/NUMBER-NONCE.whole    everything up to this batch, once batches outgrow it

A batch counts once HEAD.json names it. What was acknowledged only after that is never lost, and of
two machines that take something in at the same time one is refused and begins anew.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO

from rag_assets.config import KeptPlace
from rag_assets.errors import StorageError
from rag_assets.mirror.bucket import Bucket, Overtaken, failures, nonce

_HEAD = "HEAD.json"
_SMALL = 1 << 20  # bytes of batches that are not worth writing everything anew
_MANY = 200  # batches that a new machine reads one after the other

__all__ = ["Batch", "Journal", "Overtaken", "open_journal"]


@dataclass(frozen=True, slots=True)
class Batch:
    """One object: up to which batch it goes, its name, its size in bytes."""

    number: int
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class _Head:
    number: int = 0
    whole: Batch | None = None
    batches: tuple[Batch, ...] = ()
    etag: str | None = None


class Journal:
    """The batches of one source."""

    def __init__(self, bucket: Bucket, source: str) -> None:
        self._bucket = bucket
        self._source = source
        self._folder = f"kept/{source}"

    def since(self, number: int) -> tuple[Batch | None, list[Batch]] | None:
        """What to take in after batch `number`: everything anew or None, then these batches; None
        when nothing was ever written.

        Raises: StorageError, also when this machine is ahead of the bucket.
        """
        with self._reached("read"):
            head = self._head()
        if head.etag is None:
            return None
        if number > head.number:
            raise StorageError(
                f"source {self._source!r}: {self._bucket.url}/{self._folder} goes up to batch"
                f" {head.number}, but batch {number} is here; the bucket was put back to an earlier"
                " state, remove what is kept of the source on this machine"
            )
        whole = head.whole if head.whole and head.whole.number > number else None
        after = whole.number if whole else number
        return whole, [batch for batch in head.batches if batch.number > after]

    @contextmanager
    def read(self, batch: Batch) -> Iterator[IO[bytes]]:
        """A file with what a batch holds. Raises: Overtaken when it was replaced, StorageError."""
        with tempfile.TemporaryFile() as file:
            with self._reached("read"):
                there = self._bucket.copy_to(f"{self._folder}/{batch.name}", file)
            if not there:
                raise Overtaken(f"{batch.name} was replaced meanwhile")
            file.seek(0)
            yield file

    def append(self, number: int, data: IO[bytes]) -> bool:
        """Add batch `number`: a file, from its beginning on; whether there are many by now.

        Raises: Overtaken when there is such a batch already, StorageError.
        """
        with self._reached("written"):
            head = self._head()
            if head.number != number - 1:
                raise Overtaken(f"batch {number} of {self._source} came from another machine")
            batch = self._put(number, "batch", data)
            batches = (*head.batches, batch)
            self._put_head(replace(head, number=number, batches=batches))
        size = sum(batch.size for batch in batches)
        return len(batches) > _MANY or size > max(_SMALL, head.whole.size if head.whole else 0)

    def put_whole(self, number: int, data: IO[bytes]) -> None:
        """Let everything up to batch `number` take the place of all there is.

        First HEAD.json names it alone, then the rest goes. Raises: Overtaken, StorageError.
        """
        with self._reached("written"):
            head = self._head()
            if head.etag and head.number not in {number, number - 1}:
                raise Overtaken(f"batch {number} of {self._source} came from another machine")
            whole = self._put(number, "whole", data)
            self._put_head(_Head(number, whole, (), head.etag))
            # Objects of later numbers may be about to be named.
            self._bucket.delete(
                item.path
                for item in self._bucket.items(self._folder)
                if 0 < _number(item.path) <= number and not item.path.endswith(whole.name)
            )

    def _put(self, number: int, kind: str, data: IO[bytes]) -> Batch:
        name = f"{number:012d}-{nonce()}.{kind}"
        size = data.seek(0, os.SEEK_END)
        data.seek(0)
        self._bucket.put(f"{self._folder}/{name}", data)
        return Batch(number, name, size)

    def _head(self) -> _Head:
        found = self._bucket.read(f"{self._folder}/{_HEAD}")
        if found is None:
            return _Head()
        said = json.loads(found[0])
        whole = Batch(*said["whole"]) if said["whole"] else None
        return _Head(said["number"], whole, tuple(Batch(*row) for row in said["batches"]), found[1])

    def _put_head(self, head: _Head) -> None:
        rows = [[batch.number, batch.name, batch.size] for batch in head.batches]
        whole = head.whole and [head.whole.number, head.whole.name, head.whole.size]
        said = {"number": head.number, "whole": whole, "batches": rows}
        self._bucket.put_if(f"{self._folder}/{_HEAD}", json.dumps(said).encode(), head.etag)

    @contextmanager
    def _reached(self, done: str) -> Iterator[None]:
        try:
            yield
        except failures() as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise StorageError(
                f"source {self._source!r}: what it told cannot be {done} at {self._bucket.url}"
                f" ({first}); nothing was acknowledged. Check `s3:` and the network"
            ) from error


def open_journal(place: KeptPlace, source: str) -> Journal | None:
    """The journal of a source; None where the storage is a directory."""
    if not place.carried_to:
        return None
    return Journal(Bucket(place.carried_to, place.carried_through), source)


def retried(take_in: Callable[[], None], source: str) -> None:
    """Do it again when another machine was quicker.

    Raises: StorageError when others are quicker again and again.
    """
    for _ in range(_TRIES):
        try:
            take_in()
            return
        except Overtaken:
            continue
    raise StorageError(
        f"source {source!r}: other machines are taking in what it tells; nothing is lost, it is"
        " read again at the next look"
    )


_TRIES = 5


def _number(path: str) -> int:
    digits = path.rpartition("/")[2].partition("-")[0]
    return int(digits) if digits.isdigit() else 0
