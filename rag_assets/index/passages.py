"""The passage store of a version: documents and chunks with their text, in one SQLite file.

Text stays out of Chroma (where it is 93 % of the disk and half the CPU) and is hydrated from here
by id; filters are evaluated here over documents, so that both retrieval legs obey the same one.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import polars as pl

from rag_assets.anchors import KEY as ANCHORS
from rag_assets.anchors import anchor_of
from rag_assets.errors import StorageError
from rag_assets.index.base import Passage

FILE = "passages.sqlite3"
_BATCH = 500  # ids a statement; SQLite's oldest limit on variables is 999

_SCHEMA = """
CREATE TABLE documents (
    doc_id TEXT PRIMARY KEY, source TEXT, "partition" TEXT, uri TEXT, title TEXT, media_type TEXT,
    language TEXT, category TEXT, metadata TEXT, acl TEXT, modified_at TEXT, valid_from TEXT,
    valid_until TEXT, content_hash TEXT, held INTEGER, state TEXT
) WITHOUT ROWID;
CREATE TABLE chunks (
    chunk_id TEXT PRIMARY KEY, doc_id TEXT NOT NULL, ordinal INTEGER, start INTEGER, "end" INTEGER,
    page INTEGER, tokens INTEGER, headings TEXT, text TEXT
);
CREATE INDEX chunks_of_document ON chunks (doc_id, ordinal);
CREATE INDEX documents_by_uri ON documents (uri);
"""

_PASSAGE = """
SELECT c.chunk_id, c.doc_id, d.source, d.uri, d.title, c.headings, c.start, c."end", c.page,
       c.text, c.tokens, c.ordinal, d.category, d.language, d.metadata, d.acl, d.modified_at,
       d.valid_from, d.valid_until
FROM chunks c JOIN documents d USING (doc_id) WHERE"""

_DOCUMENT_COLUMNS = [
    "doc_id",
    "source",
    "partition",
    "uri",
    "title",
    "media_type",
    "language",
    "category",
    "metadata",
    "acl",
    "modified_at",
    "valid_from",
    "valid_until",
    "content_hash",
    "held",
    "state",
]
_CHUNK_COLUMNS = [
    "chunk_id",
    "doc_id",
    "ordinal",
    "start",
    "end",
    "page",
    "tokens",
    "headings",
    "text",
]


class PassageStore:
    """Documents and chunks of one version.

    Readers share one connection behind a lock: a look-up is tens of microseconds, and one
    connection a thread would leak with short-lived threads.
    """

    def __init__(self, directory: Path, connection: sqlite3.Connection) -> None:
        self.directory = directory
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def create(cls, directory: Path) -> "PassageStore":
        """A new, empty store in `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(directory / FILE, check_same_thread=False)
        connection.executescript(_SCHEMA)
        return cls(directory, connection)

    @classmethod
    def open(cls, directory: Path, *, writable: bool = False) -> "PassageStore":
        """The store in `directory`; unless `writable`, nothing is ever written, not even a lock."""
        path = directory / FILE
        if not path.is_file():
            raise StorageError(f"{path}: missing; run `rag-assets reconcile --repair`")
        mode = "mode=rw" if writable else "mode=ro&immutable=1"
        uri = f"{path.absolute().as_uri()}?{mode}"
        return cls(directory, sqlite3.connect(uri, uri=True, check_same_thread=False))

    def replace_documents(self, documents: pl.DataFrame, chunks: pl.DataFrame) -> None:
        """Write whole documents: rows of `documents`, and `chunks` as all the chunks they have.

        documents: columns as in the table, `acl` a list, times as datetimes; chunks: `headings` a
        list, `doc_id` among those of `documents`.
        """
        with self._connection:
            self._delete(documents["doc_id"])
            self._connection.executemany(
                f"INSERT INTO documents ({_columns(_DOCUMENT_COLUMNS)})"
                f" VALUES ({_marks(len(_DOCUMENT_COLUMNS))})",
                (_document_values(row) for row in documents.iter_rows(named=True)),
            )
            self._connection.executemany(
                f"INSERT INTO chunks ({_columns(_CHUNK_COLUMNS)})"
                f" VALUES ({_marks(len(_CHUNK_COLUMNS))})",
                (
                    (*row[:-2], json.dumps(row[-2], ensure_ascii=False), row[-1])
                    for row in chunks.select(_CHUNK_COLUMNS).iter_rows()
                ),
            )

    def delete_documents(self, doc_ids: Iterable[str]) -> None:
        """Remove documents and their chunks."""
        with self._connection:
            self._delete(doc_ids)

    def _delete(self, doc_ids: Iterable[str]) -> None:
        rows = [(doc_id,) for doc_id in doc_ids]
        self._connection.executemany("DELETE FROM chunks WHERE doc_id = ?", rows)
        self._connection.executemany("DELETE FROM documents WHERE doc_id = ?", rows)

    def passages(self, chunk_ids: Sequence[str]) -> list[Passage]:
        """The passages of these chunks, in the order asked."""
        found: dict[str, Passage] = {}
        for batch in _batches(chunk_ids):
            for row in self._rows(f"{_PASSAGE} c.chunk_id IN ({_marks(len(batch))})", batch):
                found[row[0]] = _passage(row)
        try:
            return [found[chunk_id] for chunk_id in chunk_ids]
        except KeyError as missing:
            raise StorageError(
                f"{self.directory}: no passage for chunk {missing}; run"
                " `rag-assets reconcile --repair`"
            ) from missing

    def neighbours(self, doc_id: str, ordinal: int, distance: int) -> list[Passage]:
        """The passages of a document from `distance` places before one to as many behind it."""
        within = f"{_PASSAGE} c.doc_id = ? AND c.ordinal BETWEEN ? AND ? ORDER BY c.ordinal"
        rows = self._rows(within, (doc_id, ordinal - distance, ordinal + distance))
        return [_passage(row) for row in rows]

    def document_ids(self, condition: str = "1", values: Sequence[object] = ()) -> list[str]:
        """Documents for which an SQL condition over `documents` holds, by id."""
        sql = f"SELECT doc_id FROM documents WHERE {condition} ORDER BY doc_id"
        return [row[0] for row in self._rows(sql, values)]

    def chunk_ids(self, doc_ids: Sequence[str] | None = None) -> list[str]:
        """The chunks of these documents in document order, or all chunks."""
        if doc_ids is None:
            return [row[0] for row in self._rows("SELECT chunk_id FROM chunks")]
        found = []
        for batch in _batches(doc_ids):
            sql = (
                f"SELECT chunk_id FROM chunks WHERE doc_id IN ({_marks(len(batch))})"
                " ORDER BY doc_id, ordinal"
            )
            found += [row[0] for row in self._rows(sql, batch)]
        return found

    def chunk_documents(self) -> dict[str, str]:
        """chunk_id to doc_id, of all chunks."""
        return dict(self._rows("SELECT chunk_id, doc_id FROM chunks"))

    def frames(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Everything: (documents, chunks) with the columns that `replace_documents` takes."""
        documents = self._rows(f"SELECT {_columns(_DOCUMENT_COLUMNS)} FROM documents")
        chunks = self._rows(f"SELECT {_columns(_CHUNK_COLUMNS)} FROM chunks")
        kinds = {"held", "ordinal", "start", "end", "page", "tokens"}
        schemas = [
            {name: pl.Int64 if name in kinds else pl.String for name in names}
            for names in (_DOCUMENT_COLUMNS, _CHUNK_COLUMNS)
        ]
        cut = pl.DataFrame(chunks, schema=schemas[1], orient="row")
        paths = pl.Series(map(json.loads, cut["headings"]), dtype=pl.List(pl.String))
        return (
            pl.DataFrame(documents, schema=schemas[0], orient="row"),
            cut.with_columns(headings=paths),
        )

    def document_states(self) -> pl.DataFrame:
        """(doc_id, state, content_hash) of every document; `state` names what made its row."""
        rows = self._rows("SELECT doc_id, state, content_hash FROM documents")
        schema = {"doc_id": pl.String, "state": pl.String, "content_hash": pl.String}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def document(self, uri_or_id: str) -> dict[str, object] | None:
        """The row of a document by its id or uri, or None."""
        cursor = "SELECT * FROM documents WHERE doc_id = ? OR uri = ? LIMIT 1"
        with self._lock:
            result = self._connection.execute(cursor, (uri_or_id, uri_or_id))
            row = result.fetchone()
            names = [column[0] for column in result.description]
        return None if row is None else dict(zip(names, row, strict=True))

    def optimise(self) -> None:
        """Gather statistics for the query planner; done once, before a version is sealed."""
        self._connection.execute("ANALYZE")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple]:
        with self._lock:
            return self._connection.execute(sql, tuple(values)).fetchall()


def _columns(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _batches(values: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]


def _document_values(row: dict[str, object]) -> tuple[object, ...]:
    def stored(value: object) -> object:
        if isinstance(value, datetime):
            return value.isoformat()
        return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value

    return tuple(stored(row[name]) for name in _DOCUMENT_COLUMNS)


def _passage(row: tuple) -> Passage:
    heading = _texts(row[5])
    metadata = json.loads(row[14]) if row[14] else {}
    anchors = metadata.pop(ANCHORS, None)
    return Passage(
        chunk_id=row[0],
        doc_id=row[1],
        source=row[2],
        uri=_at_section(row[3], anchors, heading),
        title=row[4] or "",
        heading=heading,
        start=row[6],
        end=row[7],
        page=row[8],
        text=row[9],
        tokens=row[10],
        ordinal=row[11],
        category=row[12],
        language=row[13],
        metadata=metadata,
        acl=_texts(row[15]),
        modified_at=_time(row[16]),
        valid_from=_time(row[17]),
        valid_until=_time(row[18]),
    )


@lru_cache(maxsize=4096)
def _texts(stored: str | None) -> tuple[str, ...]:
    """A JSON list of texts; groups and headings are the same in many rows."""
    return tuple(json.loads(stored)) if stored else ()


def _at_section(uri: str, anchors: str | None, heading: Sequence[str]) -> str:
    """The address of a page's section, where the page names its sections."""
    if anchors is None or not uri.startswith(("http://", "https://")) or "#" in uri:
        return uri
    anchor = anchor_of(anchors, heading)
    return uri if anchor is None else f"{uri}#{quote(anchor)}"


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
