"""Source `records`: one document a row of a jsonl, csv or parquet file."""

import hashlib
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from rag_assets.config import RecordsConfig
from rag_assets.errors import ConfigError, SourceError
from rag_assets.sources.base import Entry, Scalar
from rag_assets.sources.http import shown
from rag_assets.sources.rows import MAX_ROW, DelimitedText, JsonLines, Parquet, Row, RowFile

_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_WEB = ("http://", "https://")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_LONGEST_VALUE = 1000  # characters; a longer column is text, not metadata


class RecordsSource:
    """Rows as documents: the key is the id column, the bytes are the text column in UTF-8.

    Other scalar columns become metadata. A row without id or text, a row with an id that was there
    before and a row that cannot be read are listed with their problem; a file that is not of its
    format, or has no usable row at all, is a SourceError.
    """

    def __init__(self, config: RecordsConfig) -> None:
        self._config = config
        self._places: dict[str, tuple[int, int]] = {}

    def scan(self) -> Iterator[Entry]:
        """Every row. Raises: SourceError when the file cannot be read to its end."""
        self.__dict__.pop("_opened", None)
        self._places = {}
        seen: set[str] = set()
        unusable = 0
        try:
            for row in self._opened.file.rows():
                entry = self._entry(row, seen)
                seen.add(entry.key)
                unusable += entry.key.startswith("#row-")
                if entry.problem is None:
                    self._places[entry.key] = (row.start, row.length)
                yield entry
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        if seen and unusable == len(seen):
            raise self._unreadable(
                ValueError(f"none of its {unusable} rows has a usable id in {self._config.id!r}")
            )

    def fetch(self, entry: Entry) -> bytes:
        """The text of a row. Raises: SourceError when the file has changed since the scan."""
        if not self._places:
            for _ in self.scan():
                continue
        place = self._places.get(entry.key)
        try:
            values = self._opened.file.values(*place) if place else {}
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        data = _utf8(values.get(self._config.text) or "")
        if _digest(data) != entry.token:
            raise SourceError(f"{entry.uri}: changed while it was read; refresh again")
        return data

    def _entry(self, row: Row, seen: set[str]) -> Entry:
        config = self._config
        identity = _identity(row.values.get(config.id))
        text = row.values.get(config.text)
        problem = row.problem
        if problem is None and identity is None:
            problem = f"row {row.number} has no id in column {config.id!r}"
        elif problem is None and not (isinstance(text, str) and text.strip()):
            problem = f"row {row.number} has no text in column {config.text!r}"
        elif identity in seen:
            problem = f"duplicate id {identity!r}: row {row.number} has the id of an earlier row"
        key = identity or ""
        if identity is None or identity in seen:
            key = f"{key}#row-{row.number}"
        if problem:
            return self._made(key, _digest(_utf8(problem)), None, row, problem)
        data = _utf8(str(text))
        if len(data) > MAX_ROW:
            problem = f"row {row.number} has {len(data) >> 20} MiB of text, the limit is"
            problem += f" {MAX_ROW >> 20} MiB"
        return self._made(key, _digest(data), len(data), row, problem)

    def _made(self, key: str, token: str, size: int | None, row: Row, problem: str | None) -> Entry:
        config = self._config
        title = row.values.get(config.title) if config.title else None
        taken = {config.id, config.text, config.title}
        metadata = {
            name: scalar
            for name, value in row.values.items()
            if name not in taken and (scalar := _scalar(value)) is not None
        }
        return Entry(
            key=key,
            uri=f"{self._opened.uri}#{quote(key, safe='')}",
            name=f"{key}.txt",
            token=token,
            size=size,
            modified_at=None,
            title=_clean(title).strip() or None if isinstance(title, str) else None,
            metadata=metadata,
            problem=problem,
        )

    @cached_property
    def _opened(self) -> "_Opened":
        return _opened(self._config)

    def _unreadable(self, error: Exception) -> SourceError:
        return SourceError(
            f"source {self._config.name!r}: {shown(self._config.path)} cannot be read"
            f" ({shown(str(error))}); nothing of the source was changed"
        )


@dataclass(frozen=True)
class _Opened:
    """A file of rows on the local disk, and the address it came from."""

    file: RowFile
    uri: str
    copy: tempfile.TemporaryDirectory[str] | None = None


def _opened(config: RecordsConfig) -> _Opened:
    """The rows of the configured file; what is remote or compressed is copied to local disk."""
    remote = bool(_URL.match(config.path))
    path = config.path
    if not remote and os.path.isdir(path):
        path = os.path.join(path, "corpus.jsonl")  # a BEIR folder
    # What follows a `?` of a web address is no name; it may be a signature.
    stem, suffix = os.path.splitext(urlsplit(path).path if path.startswith(_WEB) else path)
    compressed = suffix.lower() in _COMPRESSED
    if compressed:
        suffix = os.path.splitext(stem)[1]
    uri = shown(path) if remote else Path(path).absolute().as_uri()
    if not remote and not compressed:
        return _Opened(_row_file(path, suffix, config), uri)
    copy = tempfile.TemporaryDirectory(prefix="rag-assets-")
    local = os.path.join(copy.name, "rows")
    _copy(path, local)
    return _Opened(_row_file(local, suffix, config), uri, copy)


def _copy(path: str, local: str) -> None:
    import fsspec

    try:
        compression = fsspec.utils.infer_compression(path.partition("?")[0])
        opened = fsspec.open(path, "rb", compression=compression, expand=False)
        with opened as source, open(local, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _row_file(path: str, suffix: str, config: RecordsConfig) -> RowFile:
    wanted = [name for name in (config.id, config.text, config.title) if name]
    kind = suffix.lower()
    if kind in {".jsonl", ".ndjson"}:
        return JsonLines(path)
    if kind in {".csv", ".tsv"}:
        return DelimitedText(path, wanted)
    if kind in {".parquet", ".pq"}:
        return Parquet(path, wanted)
    raise ConfigError(
        f"source {config.name!r}: {shown(config.path)} ends in {suffix or 'nothing'!r}; expected"
        " .jsonl, .ndjson, .csv, .tsv or .parquet, optionally compressed (.gz, .bz2, .xz, .zst)"
    )


def _identity(value: Any) -> str | None:
    """An id as text; None where there is none to speak of."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | date):
        return None
    return _clean(str(value)).strip() or None


def _scalar(value: Any) -> Scalar:
    """A cell as metadata; None where it is not a plain value."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return _clean(value) if 0 < len(value) <= _LONGEST_VALUE else None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return value if isinstance(value, bool | int | float) else None


def _clean(text: str) -> str:
    """The text with lone surrogates, which no encoding can carry, replaced."""
    return text if text.isascii() else _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def _utf8(text: str) -> bytes:
    return _clean(text).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
