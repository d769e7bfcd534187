"""Where backups lie: a path, an object store, or any other URL that fsspec knows."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from rag_assets.config import S3Config
from rag_assets.errors import BadRequest, StorageError
from rag_assets.object_stores import in_object_store, open_store

if TYPE_CHECKING:
    from obstore.store import ObjectStore


@contextmanager
def new_file(url: str, s3: S3Config | None) -> Iterator[IO[bytes]]:
    """A file to write; it has its name only when the block ends well.

    Raises: BadRequest when there is one of that name or no such kind of place, StorageError.
    """
    try:
        if in_object_store(url):
            with _new_object(url, s3) as stream:
                yield stream
        else:
            with _new_path(url) as stream:
                yield stream
    except _failures() as error:
        raise StorageError(f"{url}: the backup cannot be written ({error})") from error


@contextmanager
def existing_file(url: str, s3: S3Config | None) -> Iterator[IO[bytes]]:
    """A file to read from its beginning.

    Raises: BadRequest when there is none or no such kind of place, StorageError.
    """
    try:
        if in_object_store(url):
            import obstore

            store, name = _object(url, s3)
            yield cast(IO[bytes], _Read(obstore.open_reader(store, name)))
        else:
            filesystem, path = _filesystem(url)
            with filesystem.open(path, "rb") as stream:
                yield stream
    except FileNotFoundError as error:
        raise BadRequest(f"{url}: no such file") from error
    except _failures() as error:
        raise StorageError(f"{url}: cannot be restored ({error})") from error


@contextmanager
def _new_path(url: str) -> Iterator[IO[bytes]]:
    filesystem, path = _filesystem(url)
    if filesystem.exists(path):
        raise _taken(url)
    partial = f"{path}.partial"
    try:
        with filesystem.open(partial, "wb") as stream:
            yield stream
        filesystem.mv(partial, path)
    except BaseException:
        with suppress(OSError):
            filesystem.rm(partial)
        raise


@contextmanager
def _new_object(url: str, s3: S3Config | None) -> Iterator[IO[bytes]]:
    import obstore

    store, name = _object(url, s3)
    with suppress(FileNotFoundError):
        obstore.head(store, name)
        raise _taken(url)
    writer = obstore.open_writer(store, name)
    yield cast(IO[bytes], writer)
    writer.close()  # an upload that is not closed never becomes an object


class _Read:
    """An object as bytes, which is what tarfile takes."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int) -> bytes:
        return bytes(self._reader.read(size))


def _object(url: str, s3: S3Config | None) -> tuple["ObjectStore", str]:
    """(store, key): the last part of the address is the key, the rest its prefix."""
    above, _, name = url.rpartition("/")
    if not name or not urlsplit(url).path.strip("/"):
        raise BadRequest(f"{url}: names no file; expected such as s3://bucket/backups/kb.tar")
    return open_store(above, s3), name


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        return cast(tuple[Any, str], fsspec.core.url_to_fs(url))
    except (ValueError, ImportError) as error:
        raise BadRequest(f"{url}: no such kind of place can be reached ({error})") from error


def _taken(url: str) -> BadRequest:
    return BadRequest(f"{url}: exists; name a new file, backups are never overwritten")


def _failures() -> tuple[type[Exception], ...]:
    import obstore

    return (OSError, obstore.exceptions.BaseError)
