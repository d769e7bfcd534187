"""Rows of a jsonl, csv or parquet file, one at a time, each with the place it can be read again.

A row that cannot be read is given as a problem and reading goes on with the next one. Memory is
bounded by one row of at most `MAX_ROW` bytes.
"""

import csv
import io
import json
import os
import tempfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO, Protocol

MAX_ROW = 64 << 20  # bytes
_DELIMITERS = (",", ";", "\t", "|")
_READ = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number from 1, its values by column, and where it lies.

    `start` and `length` are bytes of the file, or for parquet the row's index and 1.
    """

    number: int
    start: int
    length: int
    values: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


class RowFile(Protocol):
    """A file of rows that can be read in order and again one by one."""

    def rows(self) -> Iterator[Row]:
        """Every row in order. Raises: ValueError when the file is not of its format."""

    def values(self, start: int, length: int) -> Mapping[str, Any]:
        """The wanted columns of the row at a place that `rows` gave. Raises: ValueError."""


class JsonLines:
    """A file with one JSON object a line; blank lines do not count."""

    def __init__(self, path: str) -> None:
        self._path = path

    def rows(self) -> Iterator[Row]:
        """Every line as a row."""
        with open(self._path, "rb") as file:
            number = 0
            for start, length, line in _lines(file):
                if line is not None and not line.strip():
                    continue
                number += 1
                yield _json_row(number, start, length, line)

    def values(self, start: int, length: int) -> Mapping[str, Any]:
        """The object on the line at this place."""
        return _json_object(_bytes_at(self._path, start, length))


def _json_row(number: int, start: int, length: int, line: bytes | None) -> Row:
    if line is None:
        return Row(number, start, length, problem=_too_long(number, length))
    try:
        return Row(number, start, length, _json_object(line))
    except (ValueError, RecursionError) as error:
        return Row(number, start, length, problem=f"row {number} is not a JSON object: {error}")


def _json_object(line: bytes) -> Mapping[str, Any]:
    value = json.loads(line.decode("utf-8-sig"))
    if not isinstance(value, dict):
        raise ValueError(f"found {type(value).__name__}")
    return value


class DelimitedText:
    """A csv or tsv file with a header; its delimiter is the one that makes `wanted` columns."""

    def __init__(self, path: str, wanted: Sequence[str]) -> None:
        self._path = path
        self._wanted = wanted

    def rows(self) -> Iterator[Row]:
        """Every record below the header; one may span several lines."""
        csv.field_size_limit(MAX_ROW)
        with open(self._path, "rb") as file:
            lines = _Lines(file)
            header, delimiter = self._header(next(lines, ""))
            number = 0
            while True:
                start = lines.begin_record()
                number += 1
                try:
                    cells = next(csv.reader(lines, delimiter=delimiter), None)
                except (csv.Error, ValueError) as error:
                    length = lines.offset - start
                    yield Row(number, start, length, problem=f"row {number}: {error}")
                    continue
                if lines.inside_quotes:
                    raise ValueError(f"a quote opened in row {number} is never closed")
                if cells is None:
                    return
                if cells:
                    yield Row(number, start, lines.offset - start, _named(header, cells))

    def values(self, start: int, length: int) -> Mapping[str, Any]:
        """The record at this place."""
        with open(self._path, "rb") as file:
            header, delimiter = self._header(next(_Lines(file), ""))
        text = _bytes_at(self._path, start, length).decode("utf-8")
        return _named(header, next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)))

    def _header(self, line: str) -> tuple[list[str], str]:
        found = [next(csv.reader([line], delimiter=d), []) for d in _DELIMITERS]
        for header, delimiter in zip(found, _DELIMITERS, strict=True):
            if all(name in header for name in self._wanted):
                return header, delimiter
        columns = max(found, key=len)
        missing = next(name for name in self._wanted if name not in columns)
        raise ValueError(f"it has no column {missing!r}; its columns are {columns}")


def _named(header: Sequence[str], cells: Sequence[str]) -> Mapping[str, str]:
    return dict(zip(header, cells, strict=False))


class _Lines:
    """Lines of a UTF-8 file as text, with the offset behind the last one given."""

    def __init__(self, file: BinaryIO) -> None:
        self._found = _lines(file)
        self._exhausted = False
        self._quotes = 0
        self._taken = 0
        self.offset = 0

    def begin_record(self) -> int:
        """Start counting for a new record; where it starts."""
        self._quotes = self._taken = 0
        return self.offset

    @property
    def inside_quotes(self) -> bool:
        """Whether the file ended inside a quoted cell, which swallowed everything up to its end."""
        return self._exhausted and self._taken > 1 and self._quotes % 2 == 1

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        try:
            start, length, line = next(self._found)
        except StopIteration:
            self._exhausted = True
            raise
        self.offset = start + length
        if line is None:
            raise ValueError(f"a line of {length >> 20} MiB, the limit is {MAX_ROW >> 20} MiB")
        self._taken += 1
        self._quotes += line.count(b'"')
        return line.decode("utf-8-sig" if start == 0 else "utf-8")


class Parquet:
    """A parquet file. Reading single rows of it is slow, so the first time one is asked for, the
    wanted columns of all rows go to a temporary file of JSON lines."""

    def __init__(self, path: str, wanted: Sequence[str]) -> None:
        self._path = path
        self._wanted = wanted

    def rows(self) -> Iterator[Row]:
        """Every row, decoded a batch at a time."""
        for index, values in enumerate(self._decoded(None)):
            yield Row(index + 1, index, 1, values)

    def _decoded(self, columns: Sequence[str] | None) -> Iterator[Mapping[str, Any]]:
        import polars as pl

        try:
            frame = pl.scan_parquet(self._path)
            found = frame.collect_schema().names()
            for name in self._wanted:
                if name not in found:
                    raise ValueError(f"it has no column {name!r}; its columns are {found}")
            for batch in frame.select(columns or found).collect_batches(chunk_size=4096):
                yield from batch.iter_rows(named=True)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ValueError(str(error).splitlines()[0]) from error

    def values(self, start: int, length: int) -> Mapping[str, Any]:
        """The wanted columns of the row of this index."""
        file, offsets = self._spool
        line = os.pread(file.fileno(), offsets[start + 1] - offsets[start], offsets[start])
        return _json_object(line)

    @cached_property
    def _spool(self) -> tuple[BinaryIO, "array[int]"]:
        file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as this object)
        offsets = array("q", [0])
        for values in self._decoded(self._wanted):
            line = json.dumps(values, default=str).encode()
            file.write(line)
            offsets.append(offsets[-1] + len(line))
        file.flush()
        return file, offsets


def _lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes | None]]:
    """(start, length, bytes) of every line; no bytes for a line above `MAX_ROW`."""
    start = 0
    while line := file.readline(MAX_ROW + 1):
        length = len(line)
        kept: bytes | None = line
        while length > MAX_ROW and not line.endswith(b"\n"):
            kept = None
            line = file.readline(_READ)
            if not line:
                break
            length += len(line)
        yield start, length, kept
        start += length


def _bytes_at(path: str, start: int, length: int) -> bytes:
    with open(path, "rb") as file:
        return os.pread(file.fileno(), length, start)


def _too_long(number: int, length: int) -> str:
    return f"row {number} has {length >> 20} MiB, the limit is {MAX_ROW >> 20} MiB"
