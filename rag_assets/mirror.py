"""Storage in an object store: a working directory here, and there what it holds, published whole.

    PREFIX/HEAD.json              which listing is the newest; replaced by conditional puts only
    PREFIX/listings/DIGEST.json   path → [size, sha256] of every file of a published state
    PREFIX/objects/ab/cdef…       the files by their sha256, written once and never changed

A refresh pulls the newest state, works on local files as always, and publishes what it left behind:
objects first, then the listing, then HEAD, on the condition that nobody else published meanwhile.
Readers pull the index alone. The pointer to the live version is the last file to be replaced, so
that a reader never sees one whose version is not here.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from rag_assets.config import KnowledgeBaseConfig, S3Config
from rag_assets.errors import Busy, StorageError
from rag_assets.object_stores import open_store

if TYPE_CHECKING:
    from obstore.store import ObjectStore

log = logging.getLogger(__name__)

PUBLISHED = ("lake", "embeddings", "index", "receipts")
INDEX = ("index",)
_HEAD = "HEAD.json"
_STATE = ".mirror.json"
_LAST = "index/LIVE.json"
_MANIFEST = "MANIFEST.json"
_AT_ONCE = 16  # transfers

Files = Mapping[str, tuple[int, str]]
"""Path below the storage → size in bytes, sha256."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest published state: its listing, how many there were, and HEAD's own ETag."""

    listing: str
    generation: int
    etag: str


class Mirror:
    """One storage in an object store and its working directory on this machine."""

    def __init__(self, url: str, directory: str | Path, s3: S3Config | None = None) -> None:
        self._url = url
        self._root = Path(directory)
        self._s3 = s3

    def pull(self, roots: tuple[str, ...] = PUBLISHED) -> bool:
        """Make these folders of the working directory what was published last.

        What a refresh left here and could not publish stays, unless somebody else published since.
        Returns whether anything was pulled. Raises: StorageError when the store cannot be asked.
        """
        try:
            head = self._head()
            if head is None or self._state().get("/".join(roots)) == head.etag:
                return False
            wanted = _below(self._listing(head), roots)
            self._fetch(wanted, roots)
        except _failures() as error:
            raise self._failed("read", error) from error
        self._remember(roots, head.etag)
        return True

    def push(self) -> bool:
        """Publish what the working directory holds; whether there was anything new.

        Raises: Busy when somebody else published since the last pull: theirs counts, and is pulled.
        StorageError when the store cannot be written.
        """
        try:
            head = self._head()
            if (head.etag if head else None) != self._state().get("/".join(PUBLISHED)):
                raise self._lost()
            base = self._listing(head) if head else {}
            files = self._local(base)
            if files == base:
                return False
            self._upload(files, {digest for _, digest in base.values()})
            etag = self._publish(files, head)
        except _failures() as error:
            raise self._failed("written", error) from error
        self._remember(PUBLISHED, etag)
        return True

    # -- the store -----------------------------------------------------------------------------

    @property
    def _store(self) -> "ObjectStore":
        return open_store(self._url, self._s3)

    def _head(self) -> Head | None:
        import obstore

        try:
            found = obstore.get(self._store, _HEAD)
        except FileNotFoundError:
            return None
        said = json.loads(bytes(found.bytes()))
        return Head(said["listing"], said["generation"], str(found.meta["e_tag"]))

    def _listing(self, head: Head) -> dict[str, tuple[int, str]]:
        import obstore

        data = bytes(obstore.get(self._store, f"listings/{head.listing}.json").bytes())
        if hashlib.sha256(data).hexdigest() != head.listing:
            raise OSError(f"the listing {head.listing} is damaged")
        return {path: (size, digest) for path, (size, digest) in json.loads(data).items()}

    def _publish(self, files: Files, head: Head | None) -> str:
        """Replace HEAD unless somebody else did; its new ETag."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        data = json.dumps(files, sort_keys=True).encode()
        digest = hashlib.sha256(data).hexdigest()
        store = self._store
        obstore.put(store, f"listings/{digest}.json", data)
        said = {"listing": digest, "generation": head.generation + 1 if head else 1}
        mode: Any = "create" if head is None else {"e_tag": head.etag}
        try:
            put = obstore.put(store, _HEAD, json.dumps(said).encode(), mode=mode)
        except (AlreadyExistsError, PreconditionError) as error:
            raise self._lost() from error
        return str(put["e_tag"])

    def _upload(self, files: Files, there: set[str]) -> None:
        missing = {digest: path for path, (_, digest) in files.items() if digest not in there}
        self._at_once(self._put, ((path, digest) for digest, path in missing.items()))

    def _put(self, path: str, digest: str) -> None:
        import obstore

        obstore.put(self._store, _object(digest), self._root / path)

    def _fetch(self, wanted: Files, roots: tuple[str, ...]) -> None:
        """Bring what is missing, then the pointer, then drop what is no longer there."""
        held = self._local(wanted, roots)
        missing = [
            (path, digest)
            for path, (_, digest) in wanted.items()
            if held.get(path, (0, ""))[1] != digest
        ]
        self._at_once(self._get, (item for item in missing if item[0] != _LAST))
        for path, digest in missing:
            if path == _LAST:
                self._get(path, digest)
        for path in sorted(set(held) - set(wanted), reverse=True):
            (self._root / path).unlink(missing_ok=True)
        self._drop_empty(roots)

    def _get(self, path: str, digest: str) -> None:
        import obstore

        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        hasher = hashlib.sha256()
        try:
            with temporary.open("wb") as file:
                for part in obstore.get(self._store, _object(digest)).stream():
                    hasher.update(part)
                    file.write(part)
            if hasher.hexdigest() != digest:
                raise OSError(f"the object of {path} is damaged: {digest}")
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def _at_once(self, transfer: Any, items: Iterable[tuple[str, str]]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(lambda item: transfer(*item), items):
                continue

    # -- the working directory -----------------------------------------------------------------

    def _local(self, base: Files, roots: tuple[str, ...] = PUBLISHED) -> dict[str, tuple[int, str]]:
        """The files here. What is sealed and in `base` is not read again: opening a version writes
        to it, and only what was published of it counts."""
        known = self._state().get("files", {})
        seen: dict[str, list[Any]] = {}
        found: dict[str, tuple[int, str]] = {}
        sealed: dict[str, bool] = {}
        for root in roots:
            for path in _files(self._root / root):
                name = path.relative_to(self._root).as_posix()
                version = _version_of(name)
                if version and version not in sealed:
                    sealed[version] = self._is_published(version, base)
                if version and sealed[version]:
                    continue
                if version and not (self._root / version / _MANIFEST).exists():
                    continue
                status = path.stat()
                stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
                held = known.get(name)
                digest = held[4] if held and held[:4] == stamp else _digest(path)
                seen[name] = [*stamp, digest]
                found[name] = (status.st_size, digest)
        for version, published in sealed.items():
            if published:
                found |= {name: base[name] for name in base if name.startswith(f"{version}/")}
        self._save({**self._state(), "files": {**known, **seen}})
        return found

    def _is_published(self, version: str, base: Files) -> bool:
        """Whether a version here is the one in `base`: its manifest names all that is in it."""
        name = f"{version}/{_MANIFEST}"
        path = self._root / name
        if name not in base or not path.exists() or _digest(path) != base[name][1]:
            return False
        inside = [member for member in base if member.startswith(f"{version}/")]
        return all((self._root / member).exists() for member in inside)

    def _drop_empty(self, roots: tuple[str, ...]) -> None:
        for root in roots:
            for folder, _, _ in os.walk(self._root / root, topdown=False):
                if not os.listdir(folder):
                    os.rmdir(folder)

    def _state(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self._root / _STATE).read_bytes())
        except (OSError, ValueError):
            return {}
        return found if found.get("url") == self._url else {}

    def _save(self, state: Mapping[str, Any]) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        temporary = self._root / f"{_STATE}.{os.getpid()}.tmp"
        temporary.write_text(json.dumps({**state, "url": self._url}))
        os.replace(temporary, self._root / _STATE)

    def _remember(self, roots: tuple[str, ...], etag: str) -> None:
        said = {"/".join(roots): etag}
        if roots == PUBLISHED:
            said["/".join(INDEX)] = etag
        self._save({**self._state(), **said})

    def _lost(self) -> Busy:
        self._save({**self._state(), "/".join(PUBLISHED): "", "/".join(INDEX): ""})
        self.pull()
        return Busy(
            f"{self._url}: another machine published while this one worked; its state is"
            " here now and counts, refresh again"
        )

    def _failed(self, done: str, error: Exception) -> StorageError:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        return StorageError(
            f"{self._url}: cannot be {done} ({first}); check the address, the credentials and the"
            " endpoint, in `s3:` or in the environment"
        )


def mirror_of(config: KnowledgeBaseConfig) -> Mirror | None:
    """The mirror of a knowledge base whose storage is in an object store; None for a directory."""
    return Mirror(config.remote, config.storage, config.s3) if config.remote else None


@contextmanager
def published(config: KnowledgeBaseConfig) -> Iterator[None]:
    """Work on the state that was published last, and publish what becomes of it."""
    mirror = mirror_of(config)
    if mirror is not None:
        mirror.pull()
    yield
    if mirror is not None:
        mirror.push()


class Follower:
    """Keeps the index of a working directory at what was published last, from a thread of its own.

    A refresh on the same machine goes before: it pulls and publishes itself.
    """

    def __init__(self, mirror: Mirror, directory: str | Path, every: float = 5.0) -> None:
        self._mirror = mirror
        self._lock = Path(directory) / ".refresh.lock"
        self._every = every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        """Pull once, then go on in the background. Raises: StorageError when the first pull fails
        and nothing is here to read from."""
        try:
            self.pull()
        except StorageError as error:
            if not (self._lock.parent / _LAST).exists():
                raise
            log.warning("reading what is here: %s", error)
        self._thread.start()

    def pull(self) -> bool:
        """Pull the index, unless a refresh is running here."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._lock, timeout=0):
                return self._mirror.pull(INDEX)
        except Timeout:
            return False

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            try:
                self.pull()
            except StorageError as error:
                log.warning("the index stays as it is: %s", error)


def _failures() -> tuple[type[Exception], ...]:
    from obstore.exceptions import BaseError

    return BaseError, OSError, ValueError, KeyError


def _object(digest: str) -> str:
    return f"objects/{digest[:2]}/{digest[2:]}"


def _below(files: Files, roots: tuple[str, ...]) -> dict[str, tuple[int, str]]:
    return {path: files[path] for path in files if path.partition("/")[0] in roots}


def _version_of(name: str) -> str:
    """The folder of the index version that a file is in, or nothing."""
    parts = name.split("/")
    return "/".join(parts[:2]) if parts[0] == "index" and parts[1].isdigit() else ""


def _files(folder: Path) -> Iterable[Path]:
    """The files below a folder, without what is half written or a lock."""
    for directory, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and not name.endswith((".lock", ".tmp")):
                yield Path(directory) / name


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
