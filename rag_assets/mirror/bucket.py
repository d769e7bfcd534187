"""What a published storage looks like in its bucket.

    PREFIX/HEAD.json                     which listing is the newest; put on condition only
    PREFIX/LEASE.json                    which machine is at work; see lease.py
    PREFIX/listings/DIGEST-NONCE.json    path → [size, part, …] of every file of a published state
    PREFIX/objects/ab/cdef…-NONCE        parts of files, written once and never changed

An object's name is never used twice, so that one that no listing names can be removed without
asking who may be about to name it again.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

from rag_assets.config import S3Config
from rag_assets.errors import RagError, StorageError
from rag_assets.object_stores import boto_client, open_store

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_HEAD = "HEAD.json"
_DIGEST = 64  # hex digits at the beginning of a part's and a listing's name
AT_ONCE = 16  # transfers
_OURS = ("HEAD.json", "LEASE.json", "listings/", "objects/", "kept/")


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of a published state: its size in bytes and the names of its parts, in order."""

    size: int
    parts: tuple[str, ...]

    @property
    def digests(self) -> tuple[str, ...]:
        """The sha256 of each part: two files with the same ones are equal."""
        return tuple(map(digest_in, self.parts))


Files = Mapping[str, Stored]
"""Path below the storage → what it is in the bucket."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest published state.

    retired: listings that were the newest before, with the time (seconds) at which each was
    replaced. etag: of HEAD.json itself, what the next one is put on condition of.
    """

    listing: str
    generation: int
    retired: tuple[tuple[str, float], ...] = ()
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """An object as it is listed."""

    path: str
    size: int
    modified: datetime


class Overtaken(RagError):
    """Somebody else replaced an object that was to be put on condition."""


class Bucket:
    """The objects below one address."""

    def __init__(self, url: str, s3: S3Config | None = None) -> None:
        self.url = url
        self.s3 = s3

    # -- the newest state ----------------------------------------------------------------------

    def head(self) -> Head | None:
        """The newest state; None when nothing was ever published."""
        found = self.read(_HEAD)
        if found is None:
            return None
        data, etag = found
        said = json.loads(data)
        retired = tuple((str(name), float(at)) for name, at in said.get("retired", ()))
        return Head(said["listing"], said["generation"], retired, etag)

    def put_head(self, head: Head, before: Head | None) -> Head:
        """Let `head` follow `before`; returns it with its ETag. Raises: Overtaken."""
        number = before.generation + 1 if before else 1
        said = {"listing": head.listing, "generation": number, "retired": head.retired}
        etag = self.put_if(_HEAD, json.dumps(said).encode(), before.etag if before else None)
        return Head(head.listing, number, head.retired, etag)

    def listing(self, name: str) -> dict[str, Stored]:
        """The files of a published state."""
        found = self.read(f"listings/{name}.json")
        if found is None:
            raise FileNotFoundError(f"the listing {name} is gone")
        if hashlib.sha256(found[0]).hexdigest() != digest_in(name):
            raise OSError(f"the listing {name} is damaged")
        said = json.loads(found[0])
        return {path: Stored(size, tuple(parts)) for path, (size, *parts) in said.items()}

    def put_listing(self, files: Files) -> str:
        """Put a new listing; returns its name."""
        said = {path: [stored.size, *stored.parts] for path, stored in files.items()}
        data = json.dumps(said, sort_keys=True).encode()
        name = f"{hashlib.sha256(data).hexdigest()}-{nonce()}"
        self.put(f"listings/{name}.json", data)
        return name

    # -- parts ---------------------------------------------------------------------------------

    def part(self, name: str) -> bytes:
        """The bytes of a part. Raises: OSError when they are gone or not what they were."""
        found = self.read(_object(name))
        if found is None:
            raise OSError(f"the object {_object(name)} is gone")
        if hashlib.sha256(found[0]).hexdigest() != digest_in(name):
            raise OSError(f"the object {_object(name)} is damaged")
        return found[0]

    def put_part(self, name: str, data: bytes) -> None:
        """Put a part under a name that was never used before."""
        self.put(_object(name), data)

    def parts(self) -> Iterator[tuple[str, Item]]:
        """Every part that lies there, by its name."""
        for item in self.items("objects"):
            folder, _, rest = item.path.removeprefix("objects/").partition("/")
            yield folder + rest, item

    def listings(self) -> Iterator[tuple[str, Item]]:
        """Every listing that lies there, by its name."""
        for item in self.items("listings"):
            yield item.path.removeprefix("listings/").removesuffix(".json"), item

    # -- objects -------------------------------------------------------------------------------

    def read(self, path: str) -> tuple[bytes, str] | None:
        """An object's bytes and ETag; None when there is none."""
        import obstore

        try:
            found = obstore.get(self._store, path)
            return bytes(found.bytes()), str(found.meta["e_tag"])
        except FileNotFoundError:
            return None

    def copy_to(self, path: str, file: IO[bytes]) -> bool:
        """Write an object's bytes to a file; False when there is none."""
        import obstore

        try:
            for part in obstore.get(self._store, path).stream():
                file.write(part)
        except FileNotFoundError:
            return False
        return True

    def modified(self, path: str) -> datetime | None:
        """When an object was put, by the server's clock; None when there is none."""
        import obstore

        try:
            return obstore.head(self._store, path)["last_modified"]
        except FileNotFoundError:
            return None

    def put(self, path: str, data: bytes | IO[bytes]) -> None:
        """Put an object; a file is read to its end from where it stands."""
        import obstore

        obstore.put(self._store, path, data)

    def put_if(self, path: str, data: bytes, etag: str | None) -> str:
        """Put an object if it is still the one of this ETag, or is not there when None.

        Returns the new ETag. Raises: Overtaken.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create" if etag is None else {"e_tag": etag}
        try:
            return str(obstore.put(self._store, path, data, mode=mode)["e_tag"])
        except FileNotFoundError as error:
            if etag is None:
                raise  # there is no such bucket
            raise Overtaken(f"{self.url}/{path} was removed meanwhile") from error
        except (AlreadyExistsError, PreconditionError) as error:
            raise Overtaken(f"{self.url}/{path} was replaced meanwhile") from error

    def demand_conditions(self) -> None:
        """Try whether objects can be put on condition.

        Raises: StorageError when the server does not honour it.
        """
        path = f"probe-{nonce()}"
        self.put_if(path, b"first", None)
        try:
            for wrong in (None, '"0123456789abcdef0123456789abcdef"'):
                try:
                    self.put_if(path, b"second", wrong)
                except Overtaken:
                    continue
                raise StorageError(
                    f"{self.url}: the server does not honour conditional puts (If-None-Match and"
                    " If-Match), by which machines are kept apart; use one that does"
                )
        finally:
            self.delete([path])

    def items(self, folder: str) -> Iterator[Item]:
        """The objects below a folder."""
        import obstore

        for page in obstore.list(self._store, prefix=folder, chunk_size=1000):
            for meta in page:
                yield Item(meta["path"], meta["size"], meta["last_modified"])

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; those that are gone already do no harm."""
        import obstore

        names = list(paths)
        for start in range(0, len(names), 1000):
            obstore.delete(self._store, names[start : start + 1000])

    def purge(self) -> int:
        """Remove earlier versions of objects, which a versioned bucket keeps of what was deleted or
        replaced; how many.

        Raises: StorageError when they cannot be listed or removed.
        """
        if not self.url.startswith("s3://"):
            raise StorageError(
                f"{self.url}: earlier versions of objects, if the bucket keeps them; let a rule of"
                " the bucket remove versions that are not current"
            )
        from botocore.exceptions import BotoCoreError, ClientError

        name, _, prefix = self.url.removeprefix("s3://").partition("/")
        below = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        client, count = boto_client("s3", self.s3), 0
        try:
            pages = client.get_paginator("list_object_versions")
            for page in pages.paginate(Bucket=name, Prefix=below):
                old = [item for item in page.get("Versions", []) if not item["IsLatest"]]
                old += page.get("DeleteMarkers", [])
                mine = [
                    {"Key": item["Key"], "VersionId": item["VersionId"]}
                    for item in old
                    if item["Key"].removeprefix(below).startswith(_OURS)
                ]
                if mine:
                    done = client.delete_objects(Bucket=name, Delete={"Objects": mine})
                    failed = done.get("Errors", [])
                    count += len(mine) - len(failed)
                    if failed:
                        raise self._kept(f"{failed[0].get('Code')} on {failed[0].get('Key')}")
        except (BotoCoreError, ClientError) as error:
            raise self._kept(str(error)) from error
        return count

    def _kept(self, why: str) -> StorageError:
        return StorageError(
            f"{self.url}: earlier versions of objects, which the bucket keeps ({why}); allow"
            " s3:ListBucketVersions and s3:DeleteObjectVersion, or let a lifecycle rule remove"
            " versions that are not current"
        )

    @cached_property
    def _store(self) -> "ObjectStore":
        return open_store(self.url, self.s3)


def at_once(transfer: Any, items: Iterable[Any]) -> None:
    """Call a transfer with each item, several at a time; the first failure is raised."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(transfer, items):
            continue


def nonce() -> str:
    """What makes a name one that was never used."""
    return secrets.token_hex(6)


def digest_in(name: str) -> str:
    """The sha256 that a part's or listing's name begins with."""
    return name[:_DIGEST]


def failures() -> tuple[type[Exception], ...]:
    """What is raised when a bucket or the disk cannot be used."""
    from obstore.exceptions import BaseError

    return BaseError, OSError, ValueError, KeyError


def _object(name: str) -> str:
    return f"objects/{name[:2]}/{name[2:]}"
