"""Files behind a URL: object stores through obstore, everything else through fsspec."""

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from rag_assets.config import FilesConfig
from rag_assets.errors import SourceError
from rag_assets.object_stores import open_store
from rag_assets.sources.base import Changes, Entry, within_limit
from rag_assets.sources.globs import Selection
from rag_assets.sources.http import shown
from rag_assets.sources.s3_events import S3Events

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from obstore.store import ObjectStore


_MOST_ASKED = 2000  # above it a listing costs less: 100,000 objects in half a second


class ObjectStoreUrl:
    """The objects below an s3://, gs:// or az:// prefix.

    Credentials, region and endpoint come from `s3:` of the configuration, or from the provider's
    usual environment variables, such as AWS_ACCESS_KEY_ID, AWS_REGION and AWS_ENDPOINT_URL.
    """

    def __init__(self, config: FilesConfig) -> None:
        self._url = config.path.rstrip("/")
        self._name = config.name
        self._chosen = Selection(config.include, config.exclude)
        self._max_mib = config.max_mib
        self._s3 = config.s3
        self._events = (
            S3Events(config.name, config.path, config.events, config.s3) if config.events else None
        )

    def scan(self) -> Iterator[Entry]:
        """Every chosen object. Raises: SourceError when any page of the listing fails."""
        import obstore

        try:
            for page in obstore.list(self._store, chunk_size=1000):
                for meta in page:
                    if _listed(self._chosen, meta["path"]) and not _is_folder_mark(meta):
                        yield within_limit(self._entry(meta), self._max_mib)
        except (obstore.exceptions.BaseError, OSError) as error:
            raise _unlistable(self._name, self._url, error) from error

    def _entry(self, meta: Mapping[str, Any]) -> Entry:
        key = meta["path"]
        modified = None if meta["e_tag"] else meta["last_modified"]
        parts = (meta["e_tag"], meta["version"], meta["size"], modified)
        return _entry(self._url, key, parts, meta["size"], meta["last_modified"])

    def changes(self, cursor: str | None) -> Changes | None:
        """What notifications named since a cursor, as it is now; None without a queue of them.

        Raises: SourceError when the queue or an object cannot be asked.
        """
        if self._events is None:
            return None
        keys, after = self._events.named_since(cursor)
        if cursor is None or not keys:
            return Changes([], [], after)
        if len(keys) > _MOST_ASKED:
            return None
        entries: list[Entry] = []
        deleted: list[str] = []
        with ThreadPoolExecutor(16) as pool:
            for key, entry in zip(keys, pool.map(self._now, keys), strict=True):
                if entry is None:
                    deleted.append(key)
                else:
                    entries.append(entry)
        return Changes(entries, deleted, after)

    def _now(self, key: str) -> Entry | None:
        """An object as it is; None when it is gone or not chosen."""
        import obstore

        try:
            meta = obstore.head(self._store, key)
        except FileNotFoundError:
            return None
        except (obstore.exceptions.BaseError, OSError) as error:
            raise _unlistable(self._name, self._url, error) from error
        if not _listed(self._chosen, key) or _is_folder_mark(meta):
            return None
        return within_limit(self._entry(meta), self._max_mib)

    def fetch(self, entry: Entry) -> bytes:
        """The bytes of an object. Raises: SourceError when it cannot be read."""
        import obstore

        try:
            return bytes(obstore.get(self._store, entry.key).bytes())
        except (obstore.exceptions.BaseError, OSError) as error:
            raise SourceError(f"{entry.uri}: cannot be read ({_first_line(error)})") from error

    @cached_property
    def _store(self) -> "ObjectStore":
        return open_store(self._url, self._s3)


class FilesystemUrl:
    """The files below a URL of any file system that fsspec knows (memory, ftp, sftp, http, …)."""

    def __init__(self, config: FilesConfig) -> None:
        self._url = config.path.rstrip("/")
        self._name = config.name
        self._chosen = Selection(config.include, config.exclude)
        self._max_mib = config.max_mib

    def scan(self) -> Iterator[Entry]:
        """Every chosen file. Raises: SourceError when a folder cannot be listed.

        fsspec's own `find` leaves out folders that fail, hence the walk.
        """
        filesystem, root = self._open()
        pending = [root]
        entered = set()
        while pending:
            folder = pending.pop()
            entered.add(folder)
            try:
                items = filesystem.ls(folder, detail=True, refresh=True)
            except Exception as error:
                raise _unlistable(self._name, self._url, error) from error
            for info in sorted(items, key=lambda info: info["name"], reverse=True):
                key = info["name"].removeprefix(root).strip("/")
                if info["type"] == "directory":
                    if info["name"] not in entered and self._chosen.enters(key):
                        pending.append(info["name"])
                elif _listed(self._chosen, key):
                    yield within_limit(self._entry(key, info), self._max_mib)

    def _entry(self, key: str, info: Mapping[str, Any]) -> Entry:
        modified = _time(info)
        names = ("ETag", "etag", "e_tag", "md5", "checksum", "version", "VersionId")
        parts = [info[name] for name in names if info.get(name)]
        return _entry(
            self._url, key, (*parts, info.get("size"), modified), info.get("size"), modified
        )

    def fetch(self, entry: Entry) -> bytes:
        """The bytes of a file. Raises: SourceError when it cannot be read."""
        filesystem, root = self._open()
        try:
            data = filesystem.cat_file(f"{root}/{entry.key}" if root else entry.key)
        except Exception as error:
            raise SourceError(f"{entry.uri}: cannot be read ({_first_line(error)})") from error
        return bytes(data)

    def _open(self) -> tuple["AbstractFileSystem", str]:
        import fsspec

        try:
            filesystem, root = fsspec.url_to_fs(self._url)
        except (ImportError, ValueError, OSError) as error:
            raise _unlistable(self._name, self._url, error) from error
        return filesystem, root.rstrip("/")


def _is_folder_mark(meta: Mapping[str, Any]) -> bool:
    """Whether an object is what S3 consoles put for an empty folder: no bytes, a name like `a/`.

    obstore takes the slash off, so a name without a suffix has to do.
    """
    return meta["size"] == 0 and "." not in meta["path"].rpartition("/")[2]


def _listed(chosen: Selection, key: str) -> bool:
    """Whether an object is a chosen file; names ending in a slash stand for folders."""
    if not key or key.endswith("/"):
        return False
    folders = key.split("/")[:-1]
    inside = all(chosen.enters("/".join(folders[: i + 1])) for i in range(len(folders)))
    return inside and chosen.takes(key)


def _entry(
    url: str, key: str, parts: tuple[object, ...], size: int | None, modified: datetime | None
) -> Entry:
    token = hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32]
    name = key.rpartition("/")[2]
    return Entry(key, f"{shown(url)}/{quote(key)}", name, token, size, modified)


def _time(info: Mapping[str, Any]) -> datetime | None:
    """When a file was last written, in whichever form its file system tells it."""
    for name in ("LastModified", "last_modified", "mtime", "modified", "updated", "created"):
        value = info.get(name)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
    return None


def _unlistable(name: str, url: str, error: Exception) -> SourceError:
    scheme = urlsplit(url).scheme
    return SourceError(
        f"source {name!r}: {shown(url)} cannot be listed ({_first_line(error)}); nothing of the"
        f" source was changed. Check the address and the credentials for {scheme}://"
    )


def _first_line(error: Exception) -> str:
    return shown((str(error).strip().splitlines() or [type(error).__name__])[0][:300])
