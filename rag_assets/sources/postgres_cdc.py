"""Source `postgres_cdc`: rows of a PostgreSQL table as they change.

The server keeps its log from where the slot stands. Changes are looked at, committed to the kept
documents, and only then is the slot moved on: what was looked at and not kept is seen again. The
first time, and when the slot was lost, all rows are read once the new slot is there.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rag_assets.config import PostgresCdcConfig
from rag_assets.errors import SourceError
from rag_assets.sources.fields import scalar_of, text_at, written
from rag_assets.sources.followed import FollowedSource
from rag_assets.sources.kept import Event, usable
from rag_assets.sources.kept_rows import DeadLetter
from rag_assets.sources.pgoutput import (
    UNCHANGED,
    Change,
    Commit,
    Values,
    decoded,
    place_of,
    position_of,
)
from rag_assets.sources.sql import NO_ADDRESS

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_POSITION = "slot"
_PAGE = 2000  # rows in memory while all are read
_SLACK = 16 << 20  # bytes of the log that may be held for other tables' changes


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where the slot stands, and what its positions are to be raised by.

    offset: a server restored from a backup begins its log anew, below versions that are kept.
    """

    confirmed: int
    offset: int

    def state(self, reached: int) -> tuple[str, str]:
        """The position to keep before the slot is moved on to `reached`: further, only others
        move it."""
        return _POSITION, json.dumps({"offset": self.offset, "reached": reached})


class PostgresCdcSource(FollowedSource):
    """Rows by the values of their id column."""

    def __init__(self, config: PostgresCdcConfig) -> None:
        self._config = config
        super().__init__(config)
        self._slot = config.slot or f"rag_{config.name}".replace("-", "_")
        self._publication = config.publication or self._slot

    def _catch_up(self) -> None:
        with self._kept.reading(), self._connected() as base:
            slot = self._opened(base) or self._begun(base)
            while True:
                reached = int(
                    self._asked(base, "SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn")
                )
                end = self._take_in(base, slot)
                if end is None:
                    if reached - slot.confirmed > _SLACK:
                        self._kept.apply([], slot.state(reached), quietly=False)
                        self._advance(base, reached)
                    return
                self._advance(base, end)

    def _opened(self, base: "Connection") -> _Slot | None:
        """The slot that the kept documents belong to; None when there is none, or no longer."""
        state = self._kept.position(_POSITION)
        found = self._rows(
            base,
            "SELECT confirmed_flush_lsn::text AS place, wal_status, plugin, database ="
            " current_database() AS here FROM pg_replication_slots WHERE slot_name = :slot",
            slot=self._slot,
        )
        if not found:
            return None
        [slot] = found
        if not slot["here"] or slot["plugin"] != "pgoutput":
            raise self._failed(f"the slot {self._slot!r} is not one of pgoutput in this database")
        if not state or slot["wal_status"] == "lost":
            if not self._config.declare:
                raise self._failed(
                    f"the slot {self._slot!r} holds changes of unknown rows or is lost; drop it and"
                    " set declare: true, so that all rows are read behind a new one"
                )
            self._asked(base, "SELECT pg_drop_replication_slot(:slot)", slot=self._slot)
            return None
        said, confirmed = json.loads(state), position_of(slot["place"])
        if confirmed > said.get("reached", confirmed):
            raise self._failed(
                f"the slot {self._slot!r} was moved on by somebody else, perhaps a knowledge base"
                " with a source of the same name: give each its own `slot` and `publication`; with"
                " a new one all rows are read again"
            )
        return _Slot(confirmed, int(said["offset"]))

    def _begun(self, base: "Connection") -> _Slot:
        """A new slot, and all rows as they are behind it."""
        if not self._config.declare:
            raise self._failed(
                f"there is no slot {self._slot!r}; make one with SELECT"
                f" pg_create_logical_replication_slot('{self._slot}', 'pgoutput'), or set declare"
            )
        known = "SELECT count(*) FROM pg_publication WHERE pubname = :name"
        if not self._asked(base, known, name=self._publication):
            self._run(base, f"CREATE PUBLICATION {self._publication} FOR TABLE {self._table}")
        # Until all rows are kept, a slot that is found belongs to nothing.
        self._kept.apply([], (_POSITION, ""))
        place = self._asked(
            base,
            "SELECT lsn::text FROM pg_create_logical_replication_slot(:slot, 'pgoutput')",
            slot=self._slot,
        )
        start = position_of(str(place))
        offset = max(0, self._kept.newest() + 1 - start)
        slot = _Slot(start, offset)
        events = (self._event(row, start + offset) for row in self._all_rows())
        self._kept.apply(events, slot.state(start), whole=True)
        return slot

    def _take_in(self, base: "Connection", slot: _Slot) -> int | None:
        """Keep the next changes; up to where the log was read, None when there are none."""
        messages = self._rows(
            base,
            "SELECT lsn::text AS place, data FROM pg_logical_slot_peek_binary_changes(:slot, NULL,"
            " :batch, 'proto_version', '1', 'publication_names', :publication)",
            slot=self._slot,
            batch=self._config.batch,
            publication=self._publication,
        )
        end: int | None = None
        events: list[Event | DeadLetter] = []
        for found in decoded((message["place"], message["data"]) for message in messages):
            if isinstance(found, Commit):
                end = found.position
            elif found.table == self._full_name:
                if found.kind == "truncate":
                    self._kept.apply(events)
                    self._kept.apply([], whole=True)
                    events = []
                else:
                    events += self._events(base, found, found.position + slot.offset)
        self._kept.apply(events, None if end is None else slot.state(end), quietly=False)
        return end

    def _events(
        self, base: "Connection", change: Change, version: int
    ) -> Iterator[Event | DeadLetter]:
        """What a change did to documents: a row whose id moved is deleted and put."""
        before = None if change.old is None else self._identity(change.old)
        if change.new is None:
            yield Event(str(before), version, deleted=True)
            return
        after = self._identity(change.new)
        if before is not None and before != after:
            yield Event(before, version, deleted=True)
        row: Values | None = change.new
        if UNCHANGED in change.new.values():
            # What is deleted meanwhile is told by a later change.
            row = next(iter(self._all_rows(only=after)), None)
        if row is not None:
            yield self._event(row, version)

    def _identity(self, row: Values) -> str:
        value = row.get(self._config.id)
        if not isinstance(value, str):
            raise self._failed(
                f"changes do not tell the column {self._config.id!r} of their rows:"
                f" run ALTER TABLE {self._table} REPLICA IDENTITY FULL, or make it the primary key"
            )
        return value.strip()

    def _event(self, row: Values, version: int) -> Event | DeadLetter:
        config = self._config
        key = self._identity(row)
        metadata = {name: scalar_of(row.get(name)) for name in config.metadata_fields}
        return usable(
            Event(
                key=key,
                version=version,
                data=text_at(row, config.text).encode(),
                name=f"{key}.txt",
                uri=text_at(row, config.uri) or f"sql://{config.name}/{quote(key, safe='')}",
                title=text_at(row, config.title) or None,
                metadata={name: value for name, value in metadata.items() if value is not None},
            )
        )

    def _all_rows(self, only: str | None = None) -> Iterator[Values]:
        """All rows, or that of one id, with values written as the log writes them."""
        from sqlalchemy import text

        names = [row["name"] for row in self._columns]
        # format() writes a value as the log does, where a cast to text writes true for t.
        shown = ", ".join(
            f"CASE WHEN {name} IS NOT NULL THEN format('%s', {name}) END AS {name}"
            for name in map(_quoted, names)
        )
        statement = f"SELECT * FROM (SELECT {shown} FROM {self._table}) AS listed"
        if only is not None:
            statement += f" WHERE {_quoted(self._config.id)} = :identity"
        values = {} if only is None else {"identity": only}
        escaped = statement.replace("::", r"\:\:")
        with self._engine.connect() as reading:
            reading = reading.execution_options(isolation_level="REPEATABLE READ", yield_per=_PAGE)
            for row in reading.execute(text(escaped), values).mappings():
                yield {
                    name: written(row[name]) if row[name] is not None else None for name in names
                }

    @cached_property
    def _columns(self) -> list[dict[str, Any]]:
        with self._connected() as base:
            found = self._rows(
                base,
                "SELECT attname AS name FROM pg_attribute WHERE attrelid = CAST(:name AS regclass)"
                " AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
                name=self._config.table,
            )
        if self._config.id not in {row["name"] for row in found}:
            raise self._failed(f"the table {self._config.table} has no column {self._config.id!r}")
        return found

    @cached_property
    def _full_name(self) -> str:
        """SCHEMA.TABLE as the log names it."""
        with self._connected() as base:
            [row] = self._rows(
                base,
                "SELECT nspname, relname FROM pg_class JOIN pg_namespace ON relnamespace ="
                " pg_namespace.oid WHERE pg_class.oid = CAST(:name AS regclass)",
                name=self._config.table,
            )
        return f"{row['nspname']}.{row['relname']}"

    @property
    def _table(self) -> str:
        schema, _, name = self._full_name.partition(".")
        return f"{_quoted(schema)}.{_quoted(name)}"

    def _advance(self, base: "Connection", position: int) -> None:
        statement = "SELECT end_lsn FROM pg_replication_slot_advance(:slot, CAST(:place AS pg_lsn))"
        self._asked(base, statement, slot=self._slot, place=place_of(position))

    def _asked(self, base: "Connection", statement: str, **values: object) -> Any:
        [row] = self._rows(base, statement, **values)
        return next(iter(row.values()))

    def _rows(self, base: "Connection", statement: str, **values: object) -> list[dict[str, Any]]:
        from sqlalchemy import text

        escaped = statement.replace("::", r"\:\:")
        return [dict(row) for row in base.execute(text(escaped), values).mappings()]

    def _run(self, base: "Connection", statement: str) -> None:
        from sqlalchemy import text

        base.execute(text(statement.replace("::", r"\:\:")))

    @contextmanager
    def _connected(self) -> Iterator["Connection"]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._engine.connect() as base:
                yield base.execution_options(isolation_level="AUTOCOMMIT")
        except SQLAlchemyError as error:
            raise self._failed(_first_line(error)) from error

    @cached_property
    def _engine(self) -> "Engine":
        from sqlalchemy import create_engine
        from sqlalchemy.exc import SQLAlchemyError
        from sqlalchemy.pool import NullPool

        try:
            return create_engine(self._config.url, poolclass=NullPool)
        except (SQLAlchemyError, ImportError) as error:
            raise self._failed(_first_line(error)) from error
        except ValueError as error:
            raise self._failed(NO_ADDRESS) from error

    def _failed(self, why: str) -> SourceError:
        return SourceError(
            f"source {self._config.name!r}: {self._config.table} cannot be followed ({why});"
            " nothing of the source was changed. The server needs wal_level = logical, the account"
            " the right REPLICATION"
        )


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _first_line(error: Exception) -> str:
    said = getattr(error, "orig", None) or error
    told = said.args[0] if said.args and isinstance(said.args[0], dict) else {}
    return (str(told.get("M") or said).strip().splitlines() or [type(error).__name__])[0]
