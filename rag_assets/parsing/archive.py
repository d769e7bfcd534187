"""Archives and compressed files: zip, tar, gzip, bzip2 and xz.

A local `files` source lists the members of an archive one by one; this is for archives that come
whole, in a mail, in another archive or from a URL: one document with a section for each member.
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from typing import IO

from rag_assets.parsing.base import Parsed, Unparseable
from rag_assets.parsing.building import TextBuilder
from rag_assets.parsing.containers import BROKEN_ZIP, LARGEST, check_sizes, read_member
from rag_assets.parsing.members import described, write_members

MOST_MEMBERS = 10_000
_LARGEST_MEMBER = 64 << 20
_OPENERS: dict[bytes, Callable[[IO[bytes]], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZ": bz2.BZ2File,
    b"\xfd7": lzma.LZMAFile,
}


def parse_zip(data: bytes, name: str) -> Parsed:
    """The members of a zip archive."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except BROKEN_ZIP as error:
        raise Unparseable("damaged", f"it is not readable as a zip archive: {error}") from error
    members = [info for info in archive.infolist() if is_document(info.filename)]
    check_count(len(members))
    check_sizes(members)
    contents = ((info.filename, read_member(archive, info)) for info in members)
    return _parsed(contents, name, "application/zip")


def parse_tar(data: bytes, name: str) -> Parsed:
    """The members of a tar archive."""
    return _parsed(_tar_members(io.BytesIO(data)), name, "application/x-tar")


def parse_compressed(data: bytes, name: str) -> Parsed:
    """A single compressed file, or a compressed tar."""
    from rag_assets.parsing.registry import parse

    inner = decompressed(data)
    stem = name.removesuffix(".gz").removesuffix(".bz2").removesuffix(".xz")
    if stem.endswith(".tgz"):
        stem = stem[:-4] + ".tar"
    return parse(inner, stem)


def decompressed(data: bytes) -> bytes:
    """The bytes of a gzip, bzip2 or xz file. Raises: Unparseable too_large or damaged."""
    try:
        with _OPENERS[data[:2]](io.BytesIO(data)) as file:
            inner = file.read(LARGEST + 1)
    except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
        raise Unparseable("damaged", f"it cannot be unpacked: {error}") from error
    if len(inner) > LARGEST:
        raise Unparseable("too_large", f"it unpacks to more than {LARGEST >> 20} MiB")
    return inner


def is_document(path: str) -> bool:
    """Whether a member can be a document: a file, not hidden, not of the archiver's own making."""
    parts = path.split("/")
    return bool(parts[-1]) and not any(part.startswith((".", "__MACOSX")) for part in parts)


def check_count(members: int) -> None:
    """Raises: Unparseable too_large above `MOST_MEMBERS`."""
    if members > MOST_MEMBERS:
        raise Unparseable("too_large", f"it has {members:,} members, the limit is {MOST_MEMBERS:,}")


def _tar_members(file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    total = count = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                if not info.isreg() or not is_document(info.name):
                    continue
                count += 1
                total += info.size
                check_count(count)
                if total > LARGEST or info.size > _LARGEST_MEMBER:
                    raise Unparseable("too_large", f"{info.name!r} in it is above the limits")
                member = archive.extractfile(info)
                yield info.name, member.read() if member else b""
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise Unparseable("damaged", f"it is not readable as a tar archive: {error}") from error


def _parsed(members: Iterator[tuple[str, bytes]], name: str, media_type: str) -> Parsed:
    builder = TextBuilder()
    left_out = write_members(builder, members)
    if not builder.text:
        reasons = described(left_out) or "it has none"
        raise Unparseable("no_text", f"none of its members can be read: {reasons}"[:500])
    return builder.parsed(media_type, name, {"left_out": described(left_out)})
