"""The members of local zip and tar archives, each a document of its own.

A member's key is `path/to/archive.zip!/path/in/it.md`. What lies in an archive within an archive
comes as one document.
"""

import bz2
import gzip
import lzma
import posixpath
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import IO, cast
from urllib.parse import quote

from rag_assets.sources.base import Entry
from rag_assets.sources.fields import printable

SEPARATOR = "!/"
MOST_MEMBERS = 10_000
_ZIP = (".zip",)
_COMPRESSED: dict[str, Callable[[str], object]] = {
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tbz2": bz2.open,
    ".tar.xz": lzma.open,
    ".txz": lzma.open,
}
_TAR = (".tar", *_COMPRESSED)
# RuntimeError: an unknown kind of packing, or a password.
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    RuntimeError,
)
_LARGEST_UNPACKED = 2 << 30  # bytes of a compressed tar


def is_archive(name: str) -> bool:
    """Whether a file name is that of an archive."""
    return name.lower().endswith(_ZIP + _TAR)


class Archives:
    """Lists and reads members; keeps the compressed tar read last unpacked in a temporary file."""

    def __init__(self) -> None:
        self._unpacked: tuple[str, IO[bytes]] | None = None

    def members(self, path: str, archive: Entry) -> Iterator[Entry]:
        """The entries of an archive's members; of the archive itself, with its problem, when it
        cannot be read."""
        lister = _zip_members if path.lower().endswith(_ZIP) else self._tar_members
        try:
            found = list(lister(path, archive))
        except _DAMAGED as error:
            yield replace(archive, problem=f"damaged archive: {error}")
            return
        except OSError as error:
            yield replace(archive, problem=f"unreadable archive: {error}")
            return
        if len(found) > MOST_MEMBERS:
            problem = f"too large: {len(found):,} members, the limit is {MOST_MEMBERS:,}"
            yield replace(archive, problem=problem)
            return
        # Of members of one name the last one counts, as for everything that unpacks.
        yield from {entry.key: entry for entry in found}.values()

    def read(self, path: str, member: str) -> bytes:
        """The bytes of a member. Raises: OSError."""
        try:
            if path.lower().endswith(_ZIP):
                with zipfile.ZipFile(path) as archive:
                    names = [info for info in archive.infolist() if _name(info.filename) == member]
                    return archive.read(names[-1])
            with self._tar(path) as tar:
                members = [info for info in tar if info.isreg() and _name(info.name) == member]
                file = tar.extractfile(members[-1])
                return b"" if file is None else file.read()
        except IndexError as error:
            raise OSError(f"{path} has no {member}") from error
        except _DAMAGED as error:
            raise OSError(f"{member} in {path}: {error}") from error

    def _tar_members(self, path: str, archive: Entry) -> Iterator[Entry]:
        with self._tar(path) as tar:
            for info in tar:
                if info.isreg():
                    # A tar has no checksums: any change of the archive makes all its members new.
                    token = f"{archive.token}-{info.offset}-{info.size}"
                    modified = None
                    with suppress(ValueError, OverflowError, OSError):
                        modified = datetime.fromtimestamp(info.mtime, UTC)
                    yield _entry(archive, info.name, token, info.size, modified)

    def _tar(self, path: str) -> tarfile.TarFile:
        suffix = next((s for s in _COMPRESSED if path.lower().endswith(s)), None)
        if suffix is None:
            return tarfile.open(path, "r:")
        if self._unpacked is None or self._unpacked[0] != path:
            self._unpacked = (path, _unpacked(path, _COMPRESSED[suffix]))
        file = self._unpacked[1]
        file.seek(0)
        return tarfile.open(fileobj=file, mode="r:")


def _unpacked(path: str, opener: Callable[[str], object]) -> IO[bytes]:
    """A compressed file's content in a temporary file. Raises: OSError above the limit."""
    target: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (outlives this function)
    with cast(IO[bytes], opener(path)) as source:
        while block := source.read(1 << 20):
            target.write(block)
            if target.tell() > _LARGEST_UNPACKED:
                raise OSError(f"it unpacks to more than {_LARGEST_UNPACKED >> 30} GiB")
    return target


def _zip_members(path: str, archive: Entry) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            if info.is_dir():
                continue
            try:
                modified = datetime(*info.date_time, tzinfo=UTC)
            except ValueError:
                modified = None
            token = f"zip-{info.CRC:08x}-{info.file_size}"
            entry = _entry(archive, info.filename, token, info.file_size, modified)
            encrypted = "encrypted: it needs a password; save it without one"
            yield replace(entry, problem=encrypted) if info.flag_bits & 1 else entry


def _entry(archive: Entry, member: str, token: str, size: int, modified: datetime | None) -> Entry:
    member = _name(member)
    return Entry(
        key=f"{archive.key}{SEPARATOR}{printable(member)}",
        uri=f"{archive.uri}{SEPARATOR}{quote(member.encode('utf-8', 'surrogateescape'))}",
        name=printable(member.rpartition("/")[2]),
        token=token,
        size=size,
        modified_at=modified,
    )


def _name(member: str) -> str:
    """A member's path with folders told apart by `/`, from where the archive is."""
    return posixpath.normpath(member.replace("\\", "/").lstrip("/"))
