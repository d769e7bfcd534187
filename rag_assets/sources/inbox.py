"""Source `inbox`: documents that were pushed, one self-contained file each.

    INBOX/3f/3fc9…e1.doc        named by the sha256 of the id

The first line of a file is a JSON object with the keys `id`, `name`, `sha256` of the bytes, `size`,
`put_at`, and `uri`, `title`, `metadata`, `acl`, `valid_from` and `valid_until`, null where the
caller left them to the configuration. What follows the newline are the document's bytes.

A file is replaced atomically and fsynced, so that what was accepted survives a power cut and a
reader sees the old document or the new one, never a mixture. A deleted document leaves a marker: a
header with `deleted_at` and no bytes. Where storage is in an object store, a file is in the journal
of the source before it is here: documents may be pushed on one machine and read on another.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, BinaryIO
from urllib.parse import quote

from rag_assets.config import InboxConfig, KeptPlace
from rag_assets.errors import BadRequest, SourceError, StorageError
from rag_assets.sources.base import Entry, Scalar
from rag_assets.sources.journal import Journal, Overtaken, open_journal, retried
from rag_assets.sources.kept_rows import File, packed, read_rows, unpacked, write_row

MAX_ID = 512  # characters
_SUFFIX = ".doc"
_JOURNAL = ".journal"


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a caller says of a document besides its bytes; None leaves it to the configuration."""

    name: str | None = None
    uri: str | None = None
    title: str | None = None
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    acl: tuple[str, ...] | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None


class Inbox:
    """The documents pushed to one source; safe for any number of writers and readers.

    journal: where files go first, so that other machines have them too.
    """

    def __init__(self, directory: str | Path, source: str, journal: Journal | None = None) -> None:
        self._root = Path(directory)
        self._source = source
        self._journal = journal

    @classmethod
    def at(cls, place: KeptPlace, source: str) -> "Inbox":
        """The inbox of a source at the place that its configuration names."""
        return cls(place.path, source, open_journal(place, source))

    def follow(self) -> None:
        """Take in what was pushed on other machines. Raises: StorageError."""
        if self._journal is not None:
            with self._alone():
                retried(self._followed, self._source)

    def put(self, key: str, data: bytes, pushed: Pushed | None = None) -> str:
        """Keep a document durably; returns the sha256 of its bytes.

        Raises: BadRequest for an id that cannot be one, StorageError when it cannot be written.
        """
        pushed = pushed or Pushed()
        path = self._path(key)
        digest = hashlib.sha256(data).hexdigest()
        header = {
            "id": key,
            "name": pushed.name or key.rpartition("/")[2],
            "sha256": digest,
            "size": len(data),
            "put_at": _now(),
            "uri": pushed.uri,
            "title": pushed.title,
            "metadata": dict(pushed.metadata),
            "acl": None if pushed.acl is None else list(pushed.acl),
            "valid_from": _text(pushed.valid_from),
            "valid_until": _text(pushed.valid_until),
        }
        self._replace(path, _line(header) + data)
        return digest

    def delete(self, key: str) -> bool:
        """Mark a document as deleted; False when none of this id was ever pushed."""
        self.follow()
        path = self._path(key)
        held = _header(path)
        if held is None:
            return False
        if "deleted_at" not in held:
            self._replace(path, _line({**held, "deleted_at": _now()}))
        return True

    def erase(self, key: str) -> bool:
        """Leave nothing of a document but that it was erased; False when there was none."""
        self.follow()
        path = self._path(key)
        if _header(path) is None:
            return False
        self._replace(path, _line({"deleted_at": _now(), "erased": True, "metadata": {}}))
        if self._journal is not None:
            with self._alone():
                retried(self._put_whole, self._source)
        return True

    def let_in(self, key: str) -> None:
        """Let an erased document be taken in again."""
        held = self.header(key)
        if held is not None and held.get("erased"):
            self._replace(self._path(key), _line({"deleted_at": _now(), "metadata": {}}))

    def header(self, key: str) -> dict[str, Any] | None:
        """What is known of a document, also of a deleted one; None when it was never pushed."""
        return _header(self._path(key))

    def entries(self) -> Iterator[Entry]:
        """Every document that is not deleted, in no particular order.

        Raises: SourceError when the directory cannot be listed or a file in it is damaged.
        """
        if not self._root.exists():
            return
        try:
            for path in sorted(self._files()):
                header = _header(path)
                if header is not None and "deleted_at" not in header:
                    yield self._entry(header)
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(
                f"source {self._source!r}: {self._root} cannot be read ({error}); nothing of the"
                " source was changed"
            ) from error

    def read(self, key: str) -> bytes:
        """The bytes of a document as they are now. Raises: OSError, SourceError when deleted."""
        with self._path(key).open("rb") as file:
            if "deleted_at" in json.loads(file.readline()):
                raise SourceError(f"inbox://{self._source}/{quote(key)}: was deleted meanwhile")
            return file.read()

    def _entry(self, header: dict[str, Any]) -> Entry:
        acl = header["acl"]
        return Entry(
            key=header["id"],
            uri=header["uri"] or f"inbox://{self._source}/{quote(header['id'])}",
            name=header["name"],
            token=header["sha256"],
            size=header["size"],
            modified_at=_time(header["put_at"]),
            title=header["title"],
            metadata=header["metadata"],
            acl=None if acl is None else tuple(acl),
            valid_from=_time(header["valid_from"]),
            valid_until=_time(header["valid_until"]),
        )

    def _path(self, key: str) -> Path:
        if not 0 < len(key) <= MAX_ID or not key.isprintable() or key != key.strip():
            raise BadRequest(
                f"document id: expected 1 to {MAX_ID} printable characters without space at the"
                f" ends, found {key[:80]!r}"
            )
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._root / name[:2] / (name + _SUFFIX)

    def _replace(self, path: Path, data: bytes) -> None:
        """Replace a file, in the journal first; of two machines the one that comes last counts."""
        if self._journal is None:
            self._write(path, data)
            return
        file = File(path.relative_to(self._root).as_posix(), data)
        with self._alone():
            retried(lambda: self._told(file), self._source)

    def _write(self, path: Path, data: bytes) -> None:
        temporary = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
            with open(descriptor, "wb") as file:
                file.write(data)
                _sync(file)
            os.replace(temporary, path)
            _sync_folder(path.parent)
        except OSError as error:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
            raise StorageError(f"{path}: cannot be written ({error.strerror})") from error

    # -- the journal; all of it under its lock ---------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        from filelock import FileLock

        self._root.mkdir(parents=True, exist_ok=True)
        with FileLock(self._root / ".journal.lock"):
            yield

    @property
    def _number(self) -> int:
        """How far the journal is in here."""
        try:
            return int((self._root / _JOURNAL).read_text())
        except FileNotFoundError:
            return 0

    def _followed(self) -> None:
        assert self._journal is not None
        found = self._journal.since(self._number)
        if found is None:
            if any(self._files()):  # pushed before the storage was in this bucket
                self._put_whole()
            return
        whole, batches = found
        for batch in ([whole] if whole else []) + batches:
            named = set()
            with self._journal.read(batch) as stream:
                for file in read_rows(unpacked(stream)):
                    self._write(self._root / file.name, file.data)
                    named.add(self._root / file.name)
            for path in set(self._files()) - named if batch is whole else ():
                path.unlink(missing_ok=True)
            self._write(self._root / _JOURNAL, str(batch.number).encode())

    def _told(self, file: File) -> None:
        assert self._journal is not None
        self._followed()
        number = self._number + 1
        with _packed([file]) as stream:
            is_long = self._journal.append(number, stream)
        self._write(self._root / file.name, file.data)
        self._write(self._root / _JOURNAL, str(number).encode())
        if is_long:
            with suppress(Overtaken):
                self._put_whole()

    def _put_whole(self) -> None:
        """Let all files take the place of the journal's batches."""
        assert self._journal is not None
        number = self._number + 1
        files = (File(p.relative_to(self._root).as_posix(), p.read_bytes()) for p in self._files())
        with _packed(files) as stream:
            self._journal.put_whole(number, stream)
        self._write(self._root / _JOURNAL, str(number).encode())

    def _files(self) -> Iterator[Path]:
        return self._root.glob(f"??/*{_SUFFIX}")


class InboxSource:
    """Pushed documents as a source. Keys are the ids that callers chose."""

    def __init__(self, config: InboxConfig) -> None:
        self._inbox = Inbox.at(config, config.name)

    def scan(self) -> Iterator[Entry]:
        """Every document that is not deleted. Raises: SourceError, StorageError."""
        self._inbox.follow()
        return self._inbox.entries()

    def forget(self, key: str) -> bool:
        """Erase what was pushed; it may be pushed again."""
        return self._inbox.erase(key)

    def fetch(self, entry: Entry) -> bytes:
        """The newest bytes: a push between scan and fetch is read once more by the next scan."""
        return self._inbox.read(entry.key)


@contextmanager
def _packed(files: Iterable[File]) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as stream:
        with packed(stream) as rows:
            for file in files:
                write_row(rows, file)
        yield stream


def _header(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            return dict(json.loads(file.readline()))
    except FileNotFoundError:
        return None


def _line(header: dict[str, Any]) -> bytes:
    return json.dumps(header, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, not only the bytes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
