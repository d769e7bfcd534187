"""The working directory of a storage in a bucket: which files it holds, in which parts."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_assets.mirror.bucket import Files

STATE = ".mirror.json"
MANIFEST = "MANIFEST.json"
# Bytes up to which a file is cut into parts of which size. A small change of a SQLite or HNSW file
# is spread all over it: smaller parts send less of what did not change (6 of 600 documents edited:
# 6.0 MB with 256 KiB, 3.9 MB with 64 KiB), larger ones make fewer objects and shorter listings.
_PARTS = ((1 << 26, 1 << 16), (1 << 33, 1 << 18), (1 << 63, 1 << 22))


@dataclass(frozen=True, slots=True)
class Local:
    """A file here: its size in bytes and the sha256 of each of its parts."""

    size: int
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some of the files of a storage. name: by which the working directory remembers them."""

    name: str
    folders: tuple[str, ...]
    files: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()

    def __contains__(self, path: object) -> bool:
        first = str(path).partition("/")[0]
        return (
            first in self.folders or path in self.files or str(path).endswith(self.endings or "/")
        )


# Everything that one machine makes and another one goes on from.
PUBLISHED = Chosen(
    "all",
    ("lake", "embeddings", "index", "receipts", "erasures", "instruct_dataset", "web"),
    ("forgotten.json",),
)
# What readers need: versions, token vectors for the rerank, and what was erased.
INDEX = Chosen("index", ("index", "erasures"), ("forgotten.json",), ("/tokens-1.sqlite3",))


class WorkingDirectory:
    """The files of a storage on this machine."""

    def __init__(self, root: str | Path, url: str) -> None:
        self.root = Path(root)
        self._url = url

    def files(self, base: Files, chosen: Chosen = PUBLISHED) -> dict[str, Local]:
        """The files here. What is sealed and in `base` is not read again: opening a version writes
        to it, and only what was published of it counts."""
        known = self.state().get("files", {})
        seen: dict[str, list[Any]] = {}
        found: dict[str, Local] = {}
        sealed: dict[str, bool] = {}
        for path in self._chosen(chosen):
            name = path.relative_to(self.root).as_posix()
            version = version_of(name)
            if version and version not in sealed:
                sealed[version] = self.is_published(version, base)
            if version and (sealed[version] or not (self.root / version / MANIFEST).exists()):
                continue
            status = path.stat()
            stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
            held = known.get(name)
            same = held and held[:4] == stamp
            digests = held[4:] if same else [_digest(part) for part in parts_of(path)]
            seen[name] = [*stamp, *digests]
            found[name] = Local(status.st_size, tuple(digests))
        for version in (version for version, published in sealed.items() if published):
            inside = (name for name in base if name.startswith(f"{version}/"))
            found |= {name: Local(base[name].size, base[name].digests) for name in inside}
        others = {name: held for name, held in known.items() if name not in chosen}
        self.save(files={**others, **seen})
        return found

    def is_published(self, version: str, base: Files) -> bool:
        """Whether a version here is the one in `base`: its manifest names all that is in it."""
        name = f"{version}/{MANIFEST}"
        path = self.root / name
        if name not in base or not path.exists():
            return False
        if tuple(map(_digest, parts_of(path))) != base[name].digests:
            return False
        inside = [member for member in base if member.startswith(f"{version}/")]
        return all((self.root / member).exists() for member in inside)

    def write(self, name: str, parts: Iterable[bytes]) -> None:
        """Replace a file by these parts, durably: that it is here is remembered."""
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def part_finder(self, held: Mapping[str, Local]) -> Callable[[str], bytes | None]:
        """What looks for a part among the files here, by its digest."""
        places: dict[str, tuple[str, int, int]] = {}
        for name, local in held.items():
            size = part_size(local.size)
            for number, digest in enumerate(local.digests):
                places.setdefault(digest, (name, number * size, size))

        def find(digest: str) -> bytes | None:
            if digest not in places:
                return None
            name, start, size = places[digest]
            try:
                with (self.root / name).open("rb") as file:
                    file.seek(start)
                    data = file.read(size)
            except OSError:
                return None
            return data if _digest(data) == digest else None

        return find

    def drop(self, names: Iterable[str]) -> None:
        """Remove files, and folders that are empty then."""
        for name in sorted(names, reverse=True):
            path = self.root / name
            path.unlink(missing_ok=True)
            for folder in path.relative_to(self.root).parents:
                if folder == Path():
                    break
                try:
                    (self.root / folder).rmdir()
                except OSError:
                    break  # it holds something else

    def _chosen(self, chosen: Chosen) -> Iterator[Path]:
        folders = (*chosen.folders, *(("embeddings",) if chosen.endings else ()))
        for folder in folders:
            for path in _files(self.root / folder):
                if path.relative_to(self.root).as_posix() in chosen:
                    yield path
        for name in chosen.files:
            if (self.root / name).is_file():
                yield self.root / name

    # -- what is remembered of the bucket --------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What is remembered; nothing of another address."""
        try:
            found: dict[str, Any] = json.loads((self.root / STATE).read_bytes())
        except (OSError, ValueError):
            return {}
        return found if found.get("url") == self._url else {}

    def save(self, **said: object) -> None:
        """Remember something more."""
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = self.root / f"{STATE}.{os.getpid()}.tmp"
        temporary.write_text(json.dumps({**self.state(), **said, "url": self._url}))
        os.replace(temporary, self.root / STATE)


def part_size(size: int) -> int:
    """Bytes of each part but the last of a file of this size."""
    return next(part for largest, part in _PARTS if size <= largest)


def parts_of(path: Path) -> Iterator[bytes]:
    """The bytes of a file, a part at a time."""
    with path.open("rb") as file:
        size = part_size(os.fstat(file.fileno()).st_size)
        while part := file.read(size):
            yield part


def read_part(path: Path, number: int) -> bytes:
    """One part of a file."""
    with path.open("rb") as file:
        size = part_size(os.fstat(file.fileno()).st_size)
        file.seek(number * size)
        return file.read(size)


def version_of(name: str) -> str:
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


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
