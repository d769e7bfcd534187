"""The lake: one Parquet file per stage and partition, and the raw bytes by content hash.

    lake/STAGE/SOURCE/BUCKET.parquet
    lake/blobs/ab/cdef…               bytes of a raw document, named by their sha256

Files are replaced atomically. Local paths and any fsspec URL take the same code.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import polars as pl
from upath import UPath

from rag_assets.contracts import demand
from rag_assets.errors import StorageError
from rag_assets.records import CHUNKS, DOCUMENTS, EMBEDDINGS, RAW_DOCUMENTS, digest_of

_WRITERS = 4

STAGES: dict[str, pl.Schema] = {
    "raw_documents": RAW_DOCUMENTS,
    "documents": DOCUMENTS,
    "chunks": CHUNKS,
    "embeddings": EMBEDDINGS,
}


@dataclass(frozen=True, slots=True)
class Lake:
    """Stage frames and raw bytes of one knowledge base under STORAGE/lake."""

    root: UPath

    @classmethod
    def at(cls, storage: str | os.PathLike[str]) -> "Lake":
        """The lake of a storage directory or URL."""
        return cls(UPath(storage) / "lake")

    def path(self, stage: str, partition: str) -> UPath:
        """The file of one partition, SOURCE:BUCKET."""
        source, _, bucket = partition.rpartition(":")
        return self.root / stage / source / f"{bucket}.parquet"

    def read(
        self, stage: str, partitions: Iterable[str], columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """The rows of these partitions; partitions never written, or written in an older layout,
        count as empty."""
        schema = STAGES[stage]
        wanted = {name: schema[name] for name in columns or schema.names()}
        paths = [self.path(stage, partition) for partition in partitions]
        if all(isinstance(path, Path) for path in paths):
            paths = [path for path in paths if path.is_file()]
            with suppress(pl.exceptions.PolarsError, OSError):  # the slow way says which and why
                return _read_together(paths, wanted)
        frames = [self._read_file(path, wanted) for path in paths]
        found = [frame for frame in frames if frame is not None]
        return pl.concat(found) if found else pl.DataFrame(schema=wanted)

    def _read_file(self, path: UPath, wanted: dict[str, pl.DataType]) -> pl.DataFrame | None:
        try:
            with path.open("rb") as stream:
                found = pl.read_parquet_schema(stream)
                if any(found.get(name) != kind for name, kind in wanted.items()):
                    return None
                stream.seek(0)
                frame = pl.read_parquet(stream, columns=list(wanted))
        except FileNotFoundError:
            return None
        except (pl.exceptions.PolarsError, OSError) as error:
            raise StorageError(
                f"{path}: cannot be read ({str(error).splitlines()[0]}); delete this file, the next"
                " refresh makes it again"
            ) from error
        return frame.select(list(wanted))

    def scan(self, stage: str, partitions: Iterable[str]) -> pl.LazyFrame:
        """Like `read`, lazily: only the columns and rows that a query needs are decoded."""
        schema = STAGES[stage]
        paths = [self.path(stage, partition) for partition in partitions]
        local = [Path(str(path)) for path in paths if isinstance(path, Path) and path.is_file()]
        if len(local) < sum(path.exists() for path in paths):
            return self.read(stage, partitions).lazy()
        frames = [pl.scan_parquet(path) for path in local]
        current = [frame for frame in frames if frame.collect_schema() == schema]
        return pl.concat(current) if current else schema.to_frame().lazy()

    def write(self, stage: str, partitions: Sequence[str], frame: pl.DataFrame) -> None:
        """Replace these partitions by the rows of theirs; several wait for the disk at once.

        An unchanged one is not written again.
        Raises: SchemaViolation when a row is not what the stage promises.
        """
        parts = frame.partition_by("partition", as_dict=True)
        with ThreadPoolExecutor(_WRITERS) as threads:
            list(
                threads.map(
                    lambda partition: self._write(
                        stage, partition, parts.get((partition,), frame.clear())
                    ),
                    partitions,
                )
            )

    def _write(self, stage: str, partition: str, frame: pl.DataFrame) -> None:
        path = self.path(stage, partition)
        held = self._read_file(path, dict(STAGES[stage]))
        if held is not None and held.equals(frame):
            return
        demand(frame, stage, partition)
        replace_file(
            path,
            lambda stream: frame.write_parquet(stream, compression="zstd", compression_level=1),
        )

    def remove(self, stage: str, partition: str) -> None:
        """Forget one partition, for sources that are gone from the configuration."""
        self.path(stage, partition).unlink(missing_ok=True)

    def partitions(self, stage: str) -> list[str]:
        """Every partition that has a file, in order."""
        folder = self.root / stage
        if not folder.is_dir():
            return []
        return sorted(
            f"{source.name}:{file.stem}"
            for source in folder.iterdir()
            for file in source.glob("*.parquet")
            if not file.name.startswith(".")
        )

    def read_table(self, name: str, schema: pl.Schema) -> pl.DataFrame:
        """A table about all documents; empty when it was never written or has another shape."""
        found = self._read_file(self.root / f"{name}.parquet", dict(schema))
        return schema.to_frame() if found is None else found

    def write_table(self, name: str, frame: pl.DataFrame) -> None:
        """Replace a table about all documents; an unchanged one is not written again."""
        if not self.read_table(name, frame.schema).equals(frame):
            path = self.root / f"{name}.parquet"
            replace_file(path, lambda stream: frame.write_parquet(stream, compression="zstd"))

    def stamp(self, stage: str, partitions: Iterable[str]) -> str | None:
        """Changes when one of these partitions is written; None where files do not tell."""
        found: list[str] = []
        for partition in partitions:
            path = self.path(stage, partition)
            if not isinstance(path, Path):
                return None
            try:
                status = path.stat()
                found.append(f"{partition} {status.st_mtime_ns} {status.st_size} {status.st_ino}")
            except FileNotFoundError:
                found.append(partition)
        return digest_of(*found)

    def note_path(self, kind: str, source: str) -> UPath:
        """Where a small JSON file about a source lies, beside the stages."""
        return self.root / kind / f"{source}.json"

    def write_note(self, kind: str, source: str, data: bytes) -> None:
        """Replace a small JSON file about a source."""
        replace_file(self.note_path(kind, source), lambda stream: stream.write(data))

    def put_bytes(self, data: bytes) -> str:
        """Keep bytes; returns their sha256 in hex.

        Not fsynced: bytes are verified before they are parsed, and their source has them still.
        """
        name = hashlib.sha256(data).hexdigest()
        path = self.blob_path(name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            try:
                temporary.write_bytes(data)
                temporary.replace(path)
            except OSError as error:
                temporary.unlink(missing_ok=True)
                raise StorageError(f"{path}: cannot be written ({error.strerror})") from error
        return name

    def blob_path(self, content_hash: str) -> UPath:
        """Where bytes of this hash are or would be."""
        return self.root / "blobs" / content_hash[:2] / content_hash[2:]

    def holds_bytes(self, content_hash: str) -> bool:
        """Whether the bytes of this hash are here; damaged ones are removed, to be kept anew."""
        path = self.blob_path(content_hash)
        try:
            with path.open("rb") as stream:
                digest = hashlib.sha256()
                while part := stream.read(1 << 20):
                    digest.update(part)
        except FileNotFoundError:
            return False
        whole = digest.hexdigest() == content_hash
        if not whole:
            path.unlink(missing_ok=True)
        return whole

    def sweep(self) -> None:
        """Remove what killed writers left behind. Nobody else may write meanwhile."""
        if isinstance(self.root, Path):
            for path in self.root.rglob(".*.tmp"):
                path.unlink(missing_ok=True)

    def collect_blobs(self, keep: set[str]) -> int:
        """Remove bytes whose hash is not in `keep`; returns how many files went."""
        removed = 0
        folder = self.root / "blobs"
        for path in folder.glob("??/*") if folder.is_dir() else ():
            if path.parent.name + path.name not in keep:
                path.unlink(missing_ok=True)
                removed += 1
        return removed


def _read_together(paths: Sequence[UPath], wanted: dict[str, pl.DataType]) -> pl.DataFrame:
    """The rows of local files that all have these columns: five times as fast as one by one."""
    if not paths:
        return pl.DataFrame(schema=wanted)
    files = [str(path) for path in paths]
    frame = pl.scan_parquet(files, schema=wanted, extra_columns="ignore", glob=False)
    return frame.select(list(wanted)).collect()


def replace_file(path: UPath | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Replace a file durably: its readers see the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(path, Path):
        with path.open("wb") as stream:
            write(stream)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from error
