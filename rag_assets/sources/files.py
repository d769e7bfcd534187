"""Source `files`: a local directory, an object store or any other fsspec URL."""

import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from rag_assets.config import FilesConfig
from rag_assets.errors import SourceError
from rag_assets.object_stores import in_object_store
from rag_assets.sources.archives import SEPARATOR, Archives, is_archive
from rag_assets.sources.base import Entry, Source, within_limit
from rag_assets.sources.fields import printable
from rag_assets.sources.globs import Selection
from rag_assets.sources.remote import FilesystemUrl, ObjectStoreUrl

_URL = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def open_files(config: FilesConfig) -> Source:
    """The files source that fits the scheme of the configured path."""
    match = _URL.match(config.path)
    if match is None:
        return Directory(config)
    scheme = match[1].lower()
    if scheme == "file":
        path = os.fsdecode(unquote_to_bytes(urlsplit(config.path).path))
        return Directory(config.model_copy(update={"path": path}))
    # Listed by obstore: 100,000 objects in 0.4 s, where s3fs needs 6.7 s.
    return ObjectStoreUrl(config) if in_object_store(config.path) else FilesystemUrl(config)


class Directory:
    """The files below a local directory.

    Keys are posix paths relative to it; bytes of a name that are not UTF-8 appear as %XX. Links are
    followed within the directory; one that leads out of it is listed as a problem.
    """

    def __init__(self, config: FilesConfig) -> None:
        self._root = os.path.abspath(config.path)
        self._name = config.name
        self._chosen = Selection(config.include, config.exclude)
        self._max_mib = config.max_mib
        self._archives = Archives()

    def scan(self) -> Iterator[Entry]:
        """Every chosen file, and for an archive its members.

        Raises: SourceError when a folder cannot be read.
        """
        for entry in self._found():
            if entry.problem is None and is_archive(entry.name):
                for member in self._archives.members(_path(entry), entry):
                    if self._takes_member(member, entry):
                        yield within_limit(member, self._max_mib)
            elif self._chosen.takes(entry.key) or entry.problem:
                yield within_limit(entry, self._max_mib)

    def _takes_member(self, member: Entry, archive: Entry) -> bool:
        """Whether a member is chosen: by its own path, with the archive as a folder in it, or along
        with the whole archive."""
        if member.key == archive.key or self._chosen.takes(member.key):
            return True
        return self._chosen.takes(archive.key) and self._chosen.allows(member.key)

    def _found(self) -> Iterator[Entry]:
        try:
            real_root = os.path.realpath(self._root, strict=True)
        except OSError as error:
            raise self._unlistable(self._root, error) from error
        entered: set[tuple[int, int]] = set()
        links: list[tuple[str, str]] = []
        yield from self._below(self._root, "", entered, links)
        # Links come last, so that a file reachable both ways keeps its own path as its key.
        while links:
            path, key = links.pop(0)
            problem = _why_not_follow(path, real_root)
            if problem:
                yield _problem_entry(path, key, problem)
            elif os.path.isdir(path):
                yield from self._below(path, key + "/", entered, links)
            elif self._chosen.takes(key) or is_archive(key):
                yield _entry(path, key, os.stat(path))

    def _below(
        self,
        folder: str,
        prefix: str,
        entered: set[tuple[int, int]],
        links: list[tuple[str, str]],
    ) -> Iterator[Entry]:
        """The files below one folder, without recursion: trees may be deep."""
        pending = [(folder, prefix)]
        while pending:
            folder, prefix = pending.pop()
            folders = []
            for item in self._listed(folder, entered):
                key = prefix + item.name
                if item.is_symlink():
                    if self._chosen.takes(key) or self._chosen.enters(key):
                        links.append((item.path, key))
                elif item.is_dir():
                    if self._chosen.enters(key):
                        folders.append((item.path, key + "/"))
                elif self._chosen.takes(key) or (is_archive(key) and self._chosen.enters(key)):
                    entry = _file_entry(item, key)
                    if entry is not None:
                        yield entry
            pending += reversed(folders)

    def _listed(self, folder: str, entered: set[tuple[int, int]]) -> list["os.DirEntry[str]"]:
        """What lies in a folder, by name; nothing for one already entered or just removed."""
        try:
            status = os.stat(folder)
            identity = (status.st_dev, status.st_ino)
            if identity in entered:
                return []
            entered.add(identity)
            with os.scandir(folder) as items:
                return sorted(items, key=lambda item: item.name)
        except FileNotFoundError as error:
            if folder == self._root:
                raise self._unlistable(folder, error) from error
            return []
        except OSError as error:
            raise self._unlistable(folder, error) from error

    def _unlistable(self, folder: str, error: OSError) -> SourceError:
        return SourceError(
            f"source {self._name!r}: the folder {folder} cannot be listed ({error.strerror});"
            " nothing of the source was changed. Make it readable or exclude it"
        )

    def fetch(self, entry: Entry) -> bytes:
        """The bytes of a file or a member of one. Raises: OSError when it cannot be read."""
        path = _path(entry)
        archive, inside, member = path.partition(SEPARATOR)
        if inside and is_archive(archive) and os.path.isfile(archive):
            return self._archives.read(archive, member)
        with open(path, "rb") as file:
            return file.read()


def _path(entry: Entry) -> str:
    """Where an entry's file lies, as its URI tells: keys do not hold every byte of a name."""
    return os.fsdecode(unquote_to_bytes(urlsplit(entry.uri).path))


def _why_not_follow(path: str, real_root: str) -> str | None:
    try:
        target = os.path.realpath(path, strict=True)
    except OSError as error:
        return f"broken link: {error.strerror}"
    if target != real_root and not target.startswith(real_root.rstrip("/") + "/"):
        return f"link out of the source's directory, to {target}: copy the file or name it a source"
    return None


def _file_entry(item: "os.DirEntry[str]", key: str) -> Entry | None:
    """The entry of a regular file; None for sockets, pipes, devices and what has just gone."""
    try:
        status = item.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return _entry(item.path, key, status) if stat.S_ISREG(status.st_mode) else None


def _entry(path: str, key: str, status: os.stat_result) -> Entry:
    # ctime and inode catch what rewrites bytes and restores size and mtime (rsync, tar, unpackers).
    token = f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"
    key = printable(key)
    return Entry(
        key=key,
        uri=_file_uri(path),
        name=key.rpartition("/")[2],
        token=token,
        size=status.st_size,
        modified_at=datetime.fromtimestamp(status.st_mtime, UTC),
    )


def _problem_entry(path: str, key: str, problem: str) -> Entry:
    key = printable(key)
    name = key.rpartition("/")[2]
    return Entry(key, _file_uri(path), name, printable(problem), None, None, problem=problem)


def _file_uri(path: str) -> str:
    return "file://" + quote_from_bytes(os.fsencode(path), safe="/-._~!$&'()*+,;=:@")
