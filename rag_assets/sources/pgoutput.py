"""What PostgreSQL's own output plugin `pgoutput` says of changed rows (protocol version 1).

Source: PostgreSQL 15 manual, chapter 55.9, Logical Replication Message Formats.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

UNCHANGED = object()
"""The value of a large column that an update did not touch: it is not sent again."""

Values = Mapping[str, object]
"""Column → text as PostgreSQL writes it, None for NULL, or `UNCHANGED`."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a row of a table, in the order of the log.

    old: the values that told the row before it was changed, where the key moved or the row is gone.
    new: the row as it is now. position: where the log says so; greater for what happened later.
    """

    kind: Literal["put", "delete", "truncate"]
    table: str
    position: int
    old: Values | None = None
    new: Values | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """The end of a transaction; everything before `position` of the log has been said."""

    position: int


def decoded(messages: Iterable[tuple[str, bytes]]) -> Iterator[Change | Commit]:
    """Changes and commits of messages, each with its place in the log such as `0/15D6B88`."""
    tables: dict[int, tuple[str, list[str]]] = {}
    for place, data in messages:
        reader = _Reader(bytes(data))
        kind = reader.letter()
        if kind == "R":
            number, described = _relation(reader)
            tables[number] = described
        elif kind == "C":
            reader.number("!b")
            reader.number("!q")
            yield Commit(reader.number("!q"))
        elif kind in {"I", "U", "D"}:
            yield _change(kind, reader, tables, position_of(place))
        elif kind == "T":
            count, _ = reader.number("!i"), reader.number("!b")
            for _ in range(count):
                name = tables[reader.number("!i")][0]
                yield Change("truncate", name, position_of(place))


def position_of(place: str) -> int:
    """A place in the log, written as two hexadecimal halves, as a number."""
    high, _, low = place.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def place_of(position: int) -> str:
    """A place in the log as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def _change(
    kind: str, reader: "_Reader", tables: Mapping[int, tuple[str, list[str]]], position: int
) -> Change:
    table, columns = tables[reader.number("!i")]
    found: dict[str, Values] = {}
    while not reader.ended:
        which = reader.letter()
        found[which] = reader.row(columns)
    old = found.get("K") or found.get("O")
    if kind == "D":
        return Change("delete", table, position, old=old)
    return Change("put", table, position, old=old, new=found["N"])


def _relation(reader: "_Reader") -> tuple[int, tuple[str, list[str]]]:
    number = reader.number("!i")
    schema, name = reader.text() or "pg_catalog", reader.text()
    reader.number("!b")
    columns = []
    for _ in range(reader.number("!h")):
        reader.number("!b")
        columns.append(reader.text())
        reader.number("!i")
        reader.number("!i")
    return number, (f"{schema}.{name}", columns)


class _Reader:
    """A message, read from its beginning."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def ended(self) -> bool:
        return self._at >= len(self._data)

    def letter(self) -> str:
        self._at += 1
        return chr(self._data[self._at - 1])

    def number(self, form: str) -> int:
        (found,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(found)

    def text(self) -> str:
        end = self._data.index(0, self._at)
        found = self._data[self._at : end].decode()
        self._at = end + 1
        return found

    def row(self, columns: list[str]) -> Values:
        count = self.number("!h")
        return {columns[place]: self._value() for place in range(count)}

    def _value(self) -> object:
        kind = self.letter()
        if kind == "n":
            return None
        if kind == "u":
            return UNCHANGED
        length = self.number("!i")
        self._at += length
        return self._data[self._at - length : self._at].decode("utf-8", "replace")
