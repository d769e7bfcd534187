"""Backup and restore: one tar file with everything that a knowledge base cannot make again.

    BACKUP.json              what it is, written first
    storage/…                the storage directory, index versions that may be served included
    config/…                 knowledge_base.yaml and the eval sets
    CHECKSUMS.json           sha256 of every file, written last

It is taken while the service goes on answering; a refresh waits. SQLite files are copied through
SQLite itself, so that a copy is never half a transaction.
"""

import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, cast

import rag_assets
from rag_assets.config import KnowledgeBaseConfig, S3Config
from rag_assets.errors import BadRequest, StorageError
from rag_assets.index.versions import Versions
from rag_assets.mirror import mirror_of
from rag_assets.operations.places import existing_file, new_file
from rag_assets.refresh.pipeline import Pipeline

_ABOUT, _SUMS = "BACKUP.json", "CHECKSUMS.json"
_FORMAT = 1
_SQLITE = b"SQLite format 3\x00"
_SQLITE_MORE = ("-wal", "-shm", "-journal")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds. files and bytes are those of the members."""

    knowledge_base: str
    created_at: str
    live_version: int | None
    software: str
    format: int = _FORMAT
    files: int = 0
    bytes: int = 0


def back_up(config: KnowledgeBaseConfig, target: str) -> Backup:
    """Write a backup to a path or URL; an interrupted one leaves no file of that name.

    Raises: BadRequest when the target exists or would be part of itself, Busy, StorageError.
    """
    if "://" not in target and Path(target).resolve().is_relative_to(Path(config.storage)):
        raise BadRequest(f"{target}: is inside of what is backed up; name a file elsewhere")
    pipeline = Pipeline(config)
    with (
        new_file(target, config.s3) as stream,
        pipeline.refreshing(),
        pipeline.versions.publishing(),
    ):
        pointer = pipeline.versions.pointer()
        about = Backup(
            config.name,
            datetime.now(UTC).isoformat(timespec="seconds"),
            pointer.version if pointer else None,
            rag_assets.__version__,
        )
        sums = _written(config, about, stream)
    sizes = sum(size for _, size in sums.values())
    return Backup(**{**asdict(about), "files": len(sums), "bytes": sizes})


def _written(
    config: KnowledgeBaseConfig, about: Backup, stream: IO[bytes]
) -> dict[str, tuple[str, int]]:
    """Member name to (sha256, bytes)."""
    sums: dict[str, tuple[str, int]] = {}
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        _add_bytes(archive, _ABOUT, json.dumps(asdict(about)).encode())
        with tempfile.TemporaryDirectory() as folder:
            for name, path in _members(config):
                copied = _copy(path, Path(folder) / "copy")
                if copied is not None:
                    sums[name] = _add_file(archive, name, copied, path)
        _add_bytes(archive, _SUMS, json.dumps(sums).encode())
    return sums


def _members(config: KnowledgeBaseConfig) -> Iterator[tuple[str, Path]]:
    """(name in the archive, file), in a stable order."""
    storage = Path(config.storage)
    unwanted = _unwanted(Versions(storage))
    for folder, folders, names in os.walk(storage):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if here / name not in unwanted)
        for name in sorted(names):
            temporary = name.startswith(".") or name.endswith((".tmp", ".lock", *_SQLITE_MORE))
            if not temporary:
                yield f"storage/{(here / name).relative_to(storage).as_posix()}", here / name
    yield "config/knowledge_base.yaml", config.path
    for number, entry in enumerate(config.evaluation.eval_sets):
        root = Path(entry.path)
        files = sorted(root.rglob("*")) if root.is_dir() else [root]
        for file in files:
            if file.is_file():
                yield f"config/eval_sets/{number}/{file.relative_to(root.parent).as_posix()}", file


def _unwanted(versions: Versions) -> set[Path]:
    """Directories of half-built and of refused versions: nobody may ever serve them."""
    promoted = {entry["version"] for entry in versions.promotions()}
    return {versions.directory(n) for n in versions.numbers() if n not in promoted}


def _copy(path: Path, copy: Path) -> Path | None:
    """The file itself where it can be read as it is, else a copy; None when it is gone."""
    try:
        with path.open("rb") as stream:
            if stream.read(len(_SQLITE)) != _SQLITE:
                return path
    except FileNotFoundError:
        return None
    copy.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise StorageError(f"{path}: cannot be copied ({error})") from error
    return copy


def _add_file(archive: tarfile.TarFile, name: str, path: Path, of: Path) -> tuple[str, int]:
    """Add the first bytes of a file that may be growing: as many as it has now."""
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        member = tarfile.TarInfo(name)
        member.size, member.mtime = size, of.stat().st_mtime
        counted = _Counted(stream)
        archive.addfile(member, cast(IO[bytes], counted))
        return counted.hexdigest, size


class _Counted:
    """A file whose bytes are hashed as they are read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._digest.update(data)
        return data

    @property
    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def restore(source: str, directory: Path, s3: S3Config | None = None) -> Backup:
    """Unpack a backup into an empty or new directory, as storage/ and config/.

    s3: how a bucket is reached; without it, as the environment says. Every file is compared with
    its checksum.

    Raises: BadRequest when the directory is not empty, StorageError when the backup is damaged, cut
    off, or none; then nothing is left behind.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise BadRequest(f"{directory}: is not empty; name a new or an empty directory")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".restore-") as folder:
        try:
            with existing_file(source, s3) as stream:
                about = _unpacked(stream, Path(folder))
        except (tarfile.TarError, ValueError, TypeError) as error:
            raise StorageError(f"{source}: no whole backup ({error})") from error
        if directory.exists():
            directory.rmdir()
        unpacked = Path(folder) / "unpacked"
        unpacked.rename(directory)
    return about


def restore_storage(source: str, config: KnowledgeBaseConfig) -> Backup:
    """Unpack the storage of a backup where a configuration wants it; see `restore`.

    Raises: also BadRequest when the backup is of another knowledge base.
    """
    storage = Path(config.storage)
    if storage.exists() and any(storage.iterdir()):
        raise BadRequest(
            f"{storage}: is not empty; move it away first, a backup never mixes with what is there"
        )
    mirror = mirror_of(config)
    if mirror is not None and mirror.states():
        raise BadRequest(
            f"{config.remote}: is not empty; name a new prefix in `storage`, a backup never mixes"
            " with what is there"
        )
    storage.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=storage.parent, prefix=".restore-") as folder:
        found = restore(source, Path(folder) / "all", config.s3)
        if found.knowledge_base != config.name:
            raise BadRequest(
                f"{source}: is a backup of {found.knowledge_base!r}, not of {config.name!r}"
            )
        if storage.exists():
            storage.rmdir()
        (Path(folder) / "all" / "storage").rename(storage)
    if mirror is not None:
        mirror.push()
    return found


def _unpacked(stream: IO[bytes], folder: Path) -> Backup:
    about: Backup | None = None
    sums: dict[str, tuple[str, int]] = {}
    found: dict[str, tuple[str, int]] = {}
    (folder / "unpacked" / "storage").mkdir(parents=True)
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is None:
                raise ValueError(f"{member.name} is no file")
            if member.name == _ABOUT:
                about = Backup(**json.load(content))
                if about.format != _FORMAT:
                    raise ValueError(f"format {about.format}, this software reads {_FORMAT}")
            elif member.name == _SUMS:
                sums = {name: (digest, size) for name, (digest, size) in json.load(content).items()}
            else:
                target = folder / "unpacked" / _safe(member.name)
                found[member.name] = _saved(content, target, member.mtime)
    if about is None or not sums:
        raise ValueError("it is cut off" if about else "it is another kind of file")
    if found != sums:
        wrong = sorted(set(found.items()) ^ set(sums.items()))[0][0]
        raise ValueError(f"{wrong} is not what was backed up")
    sizes = sum(size for _, size in sums.values())
    return Backup(**{**asdict(about), "files": len(sums), "bytes": sizes})


def _safe(name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.parts[0] not in {"storage", "config"}:
        raise ValueError(f"{name}: no name that a backup has")
    return Path(*path.parts)


def _saved(content: IO[bytes], target: Path, mtime: float) -> tuple[str, int]:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as stream:
        while data := content.read(_CHUNK):
            digest.update(data)
            size += len(data)
            stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.utime(target, (mtime, mtime))
    return digest.hexdigest(), size
