"""What filters look at, held in memory by column: one entry a document, loaded key by key.

SQL over JSON costs 60 ms for every filter on 100,000 documents; a column costs that once, and a
test on it afterwards 0.1 ms. Masks are boolean arrays over documents in the order of `doc_ids`.
"""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from rag_assets.index.passages import FILE

FIELDS = ("source", "doc_id", "uri", "title", "media_type", "language", "category")
"""Names that mean the document's own field where its metadata has no such key."""

TEXT, INTEGER, REAL, TRUE, FALSE = 1, 2, 3, 4, 5
_TYPES = {"text": TEXT, "integer": INTEGER, "real": REAL, "true": TRUE, "false": FALSE}

T = TypeVar("T")


@dataclass(frozen=True)
class Column:
    """The values of one metadata key.

    types: of each document's value, 0 where it has none or one that no filter compares. integers,
    reals: the value where the type says so. codes: a number for each text; `texts` maps them back.
    """

    types: np.ndarray
    integers: np.ndarray
    reals: np.ndarray
    codes: np.ndarray
    texts: dict[str, int]

    def equal_text(self, text: str) -> np.ndarray:
        """Documents whose value is this text."""
        code = self.texts.get(text)
        if code is None:
            return np.zeros(len(self.types), bool)
        return (self.types == TEXT) & (self.codes == code)


class Columns:
    """The documents and chunks of one sealed version, for filters. Safe from any thread.

    doc_ids: of all documents, in order. `chunk_rows` gives each chunk its document's position.
    """

    def __init__(self, directory: Path) -> None:
        self._uri = f"{(directory / FILE).absolute().as_uri()}?mode=ro&immutable=1"
        self._lock = threading.RLock()
        self._loaded: dict[tuple[str, str], object] = {}

    @cached_property
    def doc_ids(self) -> list[str]:
        """Every document, ordered by id."""
        return [row[0] for row in self._rows("SELECT doc_id FROM documents ORDER BY doc_id")]

    @cached_property
    def document_of(self) -> dict[str, int]:
        """Chunk id to the position of its document in `doc_ids`."""
        place = {doc_id: number for number, doc_id in enumerate(self.doc_ids)}
        rows = self._rows("SELECT chunk_id, doc_id FROM chunks ORDER BY doc_id, ordinal")
        return {chunk_id: place[doc_id] for chunk_id, doc_id in rows}

    @cached_property
    def chunk_ids(self) -> list[str]:
        """Every chunk, in document order."""
        return list(self.document_of)

    @cached_property
    def chunk_documents(self) -> np.ndarray:
        """The position of each chunk's document: int32 (chunks,), in the order of `chunk_ids`."""
        return np.fromiter(self.document_of.values(), np.int32, len(self.document_of))

    def metadata(self, key: str) -> Column:
        """The values of a metadata key; of the document's own field where a document has none."""
        if key not in self._keys and key not in FIELDS:
            return self._nothing  # not kept: callers choose keys, and memory is not theirs
        return self._once(("values", key), lambda: self._values(key))

    def holding(self, key: str, kind: str, value: object) -> np.ndarray:
        """Documents whose list under `key` has this value; `kind` is its JSON type in SQLite."""
        mask = np.zeros(len(self.doc_ids), bool)
        if key in self._keys:
            mask[self._once(("lists", key), lambda: self._lists(key)).get((kind, value), [])] = True
        return mask

    def readable(self, groups: Sequence[str]) -> np.ndarray:
        """Documents whose acl names one of the groups."""
        mask = np.zeros(len(self.doc_ids), bool)
        for group in groups:
            if group in self._acl:
                mask |= self._acl[group]
        return mask

    def valid(self, moment: str) -> np.ndarray | None:
        """Documents valid at an ISO 8601 moment in UTC; None when none ever begins or ends."""
        if not self._limits:
            return None
        mask = np.ones(len(self.doc_ids), bool)
        for place, start, end in self._limits:
            mask[place] = (start is None or start <= moment) and (end is None or end > moment)
        return mask

    def warm(self) -> None:
        """Load what every filter needs."""
        _ = self.chunk_documents, self._acl, self._limits, self._keys

    @cached_property
    def _place(self) -> dict[str, int]:
        return {doc_id: number for number, doc_id in enumerate(self.doc_ids)}

    @cached_property
    def _acl(self) -> dict[str, np.ndarray]:
        lists: dict[str, list[tuple[str]]] = {}
        sql = "SELECT i.value, d.doc_id FROM documents d, json_each(d.acl) i"
        for group, doc_id in self._rows(sql):
            lists.setdefault(group, []).append((doc_id,))
        return {group: self._mask_of(rows) for group, rows in lists.items()}

    @cached_property
    def _limits(self) -> list[tuple[int, str | None, str | None]]:
        sql = (
            "SELECT doc_id, valid_from, valid_until FROM documents"
            " WHERE valid_from IS NOT NULL OR valid_until IS NOT NULL"
        )
        return [(self._place[doc_id], start, end) for doc_id, start, end in self._rows(sql)]

    @cached_property
    def _keys(self) -> frozenset[str]:
        sql = "SELECT DISTINCT e.key FROM documents d, json_each(d.metadata) e"
        return frozenset(row[0] for row in self._rows(sql))

    @cached_property
    def _nothing(self) -> Column:
        return _column(len(self.doc_ids), [])

    def _values(self, key: str) -> Column:
        sql = (
            "SELECT d.doc_id, e.type, e.value FROM documents d, json_each(d.metadata) e"
            " WHERE e.key = ?"
        )
        rows = [
            (self._place[doc_id], kind, value) for doc_id, kind, value in self._rows(sql, (key,))
        ]
        if key in FIELDS:
            given = {place for place, _, _ in rows}
            own = self._rows(f'SELECT doc_id, "{key}" FROM documents WHERE "{key}" IS NOT NULL')
            fields = ((self._place[doc_id], "text", value) for doc_id, value in own)
            rows += [row for row in fields if row[0] not in given]
        return _column(len(self.doc_ids), rows)

    def _lists(self, key: str) -> dict[tuple[str, object], list[int]]:
        sql = (
            "SELECT d.doc_id, i.type, i.value FROM documents d, json_each(d.metadata) e,"
            " json_each(e.value) i WHERE e.key = ? AND e.type = 'array'"
        )
        found: dict[tuple[str, object], list[int]] = {}
        for doc_id, kind, value in self._rows(sql, (key,)):
            found.setdefault((kind, value), []).append(self._place[doc_id])
        return found

    def _mask_of(self, rows: Sequence[tuple]) -> np.ndarray:
        mask = np.zeros(len(self.doc_ids), bool)
        mask[[self._place[row[0]] for row in rows]] = True
        return mask

    def _once(self, name: tuple[str, str], load: Callable[[], T]) -> T:
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = load()
            return self._loaded[name]  # type: ignore[return-value]

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple]:
        with closing(sqlite3.connect(self._uri, uri=True)) as connection:
            return connection.execute(sql, tuple(values)).fetchall()


def _column(size: int, rows: Sequence[tuple[int, str, object]]) -> Column:
    column = Column(
        np.zeros(size, np.int8),
        np.zeros(size, np.int64),
        np.zeros(size, np.float64),
        np.full(size, -1, np.int32),
        {},
    )
    for place, kind, value in rows:
        column.types[place] = _TYPES.get(kind, 0)
        if kind == "text":
            column.codes[place] = column.texts.setdefault(str(value), len(column.texts))
        elif isinstance(value, float):  # SQLite gives integers beyond 64 bits as floats too
            column.types[place] = REAL
            column.reals[place] = value
        elif kind == "integer":
            column.integers[place] = value
    return column
