"""One immutable file of vectors, sorted by key, read in place.

Layout, little endian: a 64-byte header (magic, layout, dimension, rows, crc of the header), then
column by column: keys (32 bytes each, sorted), the second each row was first written (uint32), a
crc of each row's key and vector (uint32), the vectors (float32).
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from rag_assets.embedding.atomic import Buffer, write_atomically

SUFFIX = ".vectors"
KEY = np.dtype("S32")  # numpy drops trailing zero bytes of S32; comparing is right all the same
_MAGIC = b"RAGVECT\x01"
_HEADER = struct.Struct("<8sIQ")
_HEADER_BYTES = 64
_ROWS_AT_ONCE = 4096  # 6 MB of 384-dimensional vectors in memory during a merge


class Damaged(Exception):
    """A segment's bytes are not what was written."""


def key_array(keys: Sequence[str]) -> np.ndarray:
    """Hex sha256 strings as an array of 32-byte keys."""
    return np.frombuffer(bytes.fromhex("".join(keys)), dtype=KEY)


class Segment:
    """An open segment: `keys` S32 (n,), `written` uint32 (n,), `vectors` float32 (n, dim)."""

    def __init__(self, path: Path, dimension: int) -> None:
        """Map the file. Raises: Damaged when its header or length is off; FileNotFoundError."""
        self.path = path
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
        rows = _rows(head, dimension)
        if size != _HEADER_BYTES + rows * (40 + 4 * dimension):
            raise Damaged(f"{size} bytes long, its header says {rows} rows")
        data = np.memmap(path, dtype=np.uint8, mode="r")
        ends = np.cumsum([_HEADER_BYTES, 32 * rows, 4 * rows, 4 * rows, 4 * dimension * rows])
        columns = [data[start:end] for start, end in pairwise(ends)]
        self.keys: np.ndarray = columns[0].view(KEY)
        self.written: np.ndarray = columns[1].view("<u4")
        self.checks: np.ndarray = columns[2].view("<u4")
        self.vectors: np.ndarray = columns[3].view("<f4").reshape(rows, dimension)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return _HEADER_BYTES + len(self) * (40 + 4 * self.vectors.shape[1])

    def find(self, keys: np.ndarray) -> np.ndarray:
        """The row of each key, -1 where it is not here: int64 (n,)."""
        rows = np.minimum(np.searchsorted(self.keys, keys), len(self) - 1)
        return np.where(self.keys[rows] == keys, rows, -1)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Vectors float32 (n, dim) of these rows. Raises: Damaged when one fails its crc."""
        vectors = self.vectors[rows]
        if not np.array_equal(row_checks(self.keys[rows], vectors), self.checks[rows]):
            raise Damaged("a vector does not match its checksum")
        return vectors

    def intact_rows(self) -> np.ndarray:
        """Rows whose key and vector match their checksum."""
        good = [
            np.flatnonzero(row_checks(self.keys[part], self.vectors[part]) == self.checks[part])
            + part.start
            for part in _slices(len(self))
        ]
        return np.concatenate(good)


def _rows(head: bytes, dimension: int) -> int:
    if len(head) < _HEADER_BYTES:
        raise Damaged(f"only {len(head)} bytes long")
    magic, found, rows = _HEADER.unpack_from(head)
    if magic != _MAGIC or zlib.crc32(head[: _HEADER.size]) != _crc_in(head) or rows == 0:
        raise Damaged("its header is not that of a vector segment")
    if found != dimension:
        raise Damaged(f"its vectors have {found} dimensions, wanted {dimension}")
    return int(rows)


def _crc_in(head: bytes) -> int:
    return int.from_bytes(head[_HEADER.size : _HEADER.size + 4], "little")


def row_checks(keys: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Crc32 of each row's key and vector: uint32 (n,)."""
    joined = np.concatenate(
        [
            np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), 32),
            np.ascontiguousarray(vectors, dtype="<f4").view(np.uint8).reshape(len(keys), -1),
        ],
        axis=1,
    )
    return np.fromiter((zlib.crc32(row) for row in joined), dtype="<u4", count=len(joined))


def _slices(rows: int) -> Iterator[slice]:
    return (slice(at, min(at + _ROWS_AT_ONCE, rows)) for at in range(0, rows, _ROWS_AT_ONCE))


def _header(rows: int, dimension: int) -> bytes:
    fields = _HEADER.pack(_MAGIC, dimension, rows)
    return (fields + zlib.crc32(fields).to_bytes(4, "little")).ljust(_HEADER_BYTES, b"\0")


def write_segment(path: Path, keys: np.ndarray, vectors: np.ndarray, second: int) -> None:
    """Write a new segment of different keys S32 (n,) and float32 vectors (n, dim)."""
    order = np.argsort(keys)
    keys = keys[order]
    vectors = np.ascontiguousarray(vectors[order], dtype="<f4")
    written = np.full(len(keys), second, dtype="<u4")
    head = _header(len(keys), vectors.shape[1])
    write_atomically(path, [head, keys, written, row_checks(keys, vectors), vectors])


def write_merged(path: Path, sources: Sequence[tuple[Segment, np.ndarray]]) -> None:
    """Write the given rows of several segments as one; a key in several is taken once.

    The oldest writing time of a key is kept. Memory: 50 bytes a row, vectors are streamed.
    """
    keys = np.concatenate([segment.keys[rows] for segment, rows in sources])
    written = np.concatenate([segment.written[rows] for segment, rows in sources])
    checks = np.concatenate([segment.checks[rows] for segment, rows in sources])
    origin = np.repeat(np.arange(len(sources)), [len(rows) for _, rows in sources])
    row = np.concatenate([rows for _, rows in sources])
    order = np.lexsort((written, keys))
    order = order[np.concatenate([[True], keys[order][1:] != keys[order][:-1]])]

    def vectors() -> Iterator[Buffer]:
        for part in _slices(len(order)):
            picked = order[part]
            block = np.empty((len(picked), sources[0][0].vectors.shape[1]), dtype="<f4")
            for number, (segment, _) in enumerate(sources):
                mine = origin[picked] == number
                block[mine] = segment.vectors[row[picked[mine]]]
            yield block

    def parts() -> Iterator[Buffer]:
        yield _header(len(order), sources[0][0].vectors.shape[1])
        yield from (keys[order], written[order], checks[order])
        yield from vectors()

    write_atomically(path, parts())
