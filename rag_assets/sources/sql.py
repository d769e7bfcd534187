"""Source `sql`: one document a row of a query, from any database SQLAlchemy has a driver for.

One SELECT is one snapshot, so a row that a slow transaction commits late, with an old time, shows
in the next scan like any other: tokens are compared, not ordered.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rag_assets.config import SqlConfig
from rag_assets.errors import SourceError
from rag_assets.sources.base import Changes, Entry
from rag_assets.sources.fields import moment_of, scalar_of, text_at, written
from rag_assets.sources.keys import Keys

if TYPE_CHECKING:
    from sqlalchemy import Engine

# Instead of what the parser says: it names pieces of the address, such as a password.
NO_ADDRESS = "the url is none; what is special in a user or password must be percent-encoded"
_PAGE = 5000  # rows in memory while listing
_FETCHED = 200  # rows read at once when a text is asked for; the next ones are usually wanted too


class SqlSource:
    """The rows of a query. Keys are the values of the id column.

    With `updated_at` a scan reads ids, times and metadata only; without it, every text.
    """

    def __init__(self, config: SqlConfig) -> None:
        self._config = config
        self._keys = Keys()
        # Key → value of the id column, where the one does not tell the other.
        self._values: dict[str, Any] = {}
        self._kind: type | None = None
        self._page: dict[str, bytes] = {}

    def scan(self) -> Iterator[Entry]:
        """Every row. Raises: SourceError when the query fails or ends early."""
        from sqlalchemy.exc import SQLAlchemyError

        self._keys, self._values, self._page = Keys(), {}, {}
        try:
            yield from self._entries(self._rows())
        except (SQLAlchemyError, KeyError) as error:
            raise self._failed(error) from error

    def _entries(self, rows: Iterator[Mapping[str, Any]]) -> Iterator[Entry]:
        first = 1
        while page := list(islice(rows, _PAGE)):
            identities = [written(row[self._config.id]).strip() for row in page]
            known = self._keys.add(identities)
            for identity, row, again in zip(identities, page, known, strict=True):
                if not again:
                    self._remember(identity, row[self._config.id])
            for place, row in enumerate(page):
                yield self._entry(row, identities[place], first + place, known[place])
            first += len(page)

    def _remember(self, identity: str, value: Any) -> None:
        """Keep the value of the id column, unless the key tells it."""
        self._kind = self._kind or type(value)
        told = type(value) is self._kind and self._kind in {int, str}
        if not told or str(value) != identity:
            self._values[identity] = value

    def changes(self, cursor: str | None) -> Changes | None:
        """Rows whose time is not before the cursor, less the overlap, and how many rows there are.

        A row that is deleted while another one comes is found by the next scan. None without
        `updated_at`, and when a row among the changed ones cannot be used.
        Raises: SourceError when the query fails.
        """
        from sqlalchemy.exc import SQLAlchemyError

        column = self._config.updated_at
        if column is None:
            return None
        try:
            newest, total = self._newest(column)
            after = json.dumps(_told(newest))
            if cursor is None:
                return Changes([], [], after, total)
            since = _since(json.loads(cursor), self._config.overlap)
            if since is None:
                return None
            self._keys, self._values, self._page = Keys(), {}, {}
            entries = list(self._entries(self._rows(column, since)))
        except (SQLAlchemyError, KeyError) as error:
            raise self._failed(error) from error
        if any(entry.problem is not None for entry in entries):
            return None
        return Changes(entries, [], after, total)

    def _newest(self, column: str) -> tuple[Any, int]:
        """The latest time of any row, and how many rows there are."""
        from sqlalchemy import text

        statement = f"SELECT max({self._quoted(column)}), count(*) FROM ({self._query}) AS listed"
        with self._engine.connect() as connection:
            newest, total = connection.execute(text(statement)).one()
        return newest, int(total)

    def fetch(self, entry: Entry) -> bytes:
        """The text of a row. Raises: SourceError when it is gone or cannot be read."""
        from sqlalchemy.exc import SQLAlchemyError

        if entry.key not in self._page:
            near = self._keys.from_on(entry.key, _FETCHED)
            if not near:
                for _ in self.scan():
                    continue
                near = self._keys.from_on(entry.key, _FETCHED)
            try:
                self._page = self._texts([self._value(key) for key in near])
            except (SQLAlchemyError, KeyError) as error:
                raise self._failed(error) from error
        if entry.key not in self._page:
            raise SourceError(f"{entry.uri}: the row is gone; refresh again")
        return self._page[entry.key]

    def _rows(self, column: str = "", since: Any = None) -> Iterator[Mapping[str, Any]]:
        """All rows, or those of a time and later or without one, in pages, with the columns that a
        listing needs."""
        from sqlalchemy import text

        names = self._listed_columns()
        columns = "*" if names is None else ", ".join(map(self._quoted, names))
        query, values = f"SELECT {columns} FROM ({self._query}) AS listed", {}
        if column:
            name = self._quoted(column)
            query += f" WHERE {name} >= :since OR {name} IS NULL"
            values = {"since": since}
        with self._engine.connect() as connection:
            paged = connection.execution_options(yield_per=_PAGE)
            result = paged.execute(text(query), values)
            # Plain dicts: SQLAlchemy's own mappings take twice as long to look into.
            found = list(result.keys())
            for row in result:
                yield dict(zip(found, row, strict=True))

    def _listed_columns(self) -> list[str] | None:
        """The columns of a listing, None for all: a template may name any."""
        config = self._config
        templates = (config.title or "", config.uri or "")
        if config.updated_at is None or any("{" in template for template in templates):
            return None
        wanted = [config.id, config.updated_at, config.title, config.uri, *config.metadata_columns]
        return list(dict.fromkeys(name for name in wanted if name))

    def _entry(self, row: Mapping[str, Any], identity: str, number: int, known: bool) -> Entry:
        config = self._config
        problem = None
        key = identity
        if not identity:
            problem = f"row {number} has no id in column {config.id!r}"
        elif known:
            problem = f"duplicate id {identity!r}: row {number} has the id of an earlier row"
        if problem:
            key = f"{identity}#row-{number}"
        size = None
        if config.updated_at is not None:
            token = written(row[config.updated_at])
        else:
            data = text_at(row, config.text).encode()
            token, size = hashlib.sha256(data).hexdigest()[:32], len(data)
            if not data.strip():
                problem = problem or f"row {number} has no text"
        metadata = {name: scalar_of(row[name]) for name in config.metadata_columns}
        return Entry(
            key=key,
            uri=text_at(row, config.uri) or f"sql://{config.name}/{_quoted(key)}",
            name=f"{key}.txt",
            token=token,
            size=size,
            modified_at=moment_of(row[config.updated_at]) if config.updated_at else None,
            title=text_at(row, config.title) or None,
            metadata={name: value for name, value in metadata.items() if value is not None},
            problem=problem,
        )

    def _value(self, key: str) -> Any:
        """The value of the id column that a key was made of."""
        if key in self._values:
            return self._values[key]
        return int(key) if self._kind is int else key

    def _texts(self, identities: list[Any]) -> dict[str, bytes]:
        from sqlalchemy import bindparam, text

        statement = text(
            f"SELECT * FROM ({self._query}) AS listed"
            f" WHERE {self._quoted(self._config.id)} IN :identities"
        ).bindparams(bindparam("identities", expanding=True))
        with self._engine.connect() as connection:
            rows = connection.execute(statement, {"identities": identities}).mappings()
            found: dict[str, bytes] = {}
            for row in rows:
                # Of several rows with one id the first one counts, as in a listing.
                key = written(row[self._config.id]).strip()
                found.setdefault(key, text_at(row, self._config.text).encode())
            return found

    def _quoted(self, name: str) -> str:
        return self._engine.dialect.identifier_preparer.quote(name)

    @property
    def _query(self) -> str:
        # A colon would be read as the beginning of a parameter.
        return self._config.query.strip().rstrip(";").replace(":", r"\:")

    @cached_property
    def _engine(self) -> "Engine":
        from sqlalchemy import create_engine
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return create_engine(self._config.url)
        except (SQLAlchemyError, ImportError) as error:
            raise self._failed(error) from error
        except ValueError as error:
            raise self._failed(ValueError(NO_ADDRESS)) from error

    def _failed(self, error: Exception) -> SourceError:
        said = str(getattr(error, "orig", None) or error).strip().splitlines() or [""]
        return SourceError(
            f"source {self._config.name!r}: the query failed ({type(error).__name__}: {said[0]});"
            " nothing of the source was changed"
        )


def _told(newest: Any) -> dict[str, Any]:
    """A time of a row as a cursor keeps it.

    A row whose clock was ahead must not keep those behind it from being asked for: no time is later
    than now.
    """
    now = datetime.now(UTC)
    if isinstance(newest, datetime):
        newest = min(newest, now if newest.tzinfo else now.replace(tzinfo=None))
    elif isinstance(newest, date):
        newest = min(newest, now.date())
    elif isinstance(newest, str) and (moment := moment_of(newest)) is not None and moment > now:
        newest = now.isoformat(sep=newest[10:11] or " ", timespec="seconds")[:19]
    if isinstance(newest, datetime | date):
        return {"kind": type(newest).__name__, "at": newest.isoformat()}
    if isinstance(newest, int | float | str):
        return {"kind": "plain", "at": newest}
    return {"kind": "none", "at": None}


def _since(told: dict[str, Any], overlap: float) -> Any:
    """From which time on rows are asked for; None when it cannot be told."""
    at, earlier = told["at"], timedelta(seconds=overlap)
    if told["kind"] == "datetime":
        return datetime.fromisoformat(at) - earlier
    if told["kind"] == "date":
        return date.fromisoformat(at) - max(earlier, timedelta(days=1))
    if isinstance(at, str):
        # SQLite keeps times as text; cut to seconds, a time is before every longer form of it.
        try:
            moment = datetime.fromisoformat(at) - earlier
        except ValueError:
            return at
        return moment.isoformat(sep=at[10:11] or " ", timespec="seconds")[:19]
    return at


def _quoted(key: str) -> str:
    return key if key.isalnum() and key.isascii() else quote(key, safe="")
