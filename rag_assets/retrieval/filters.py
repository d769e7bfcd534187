"""Which documents a search may return: `where`, time validity and access groups, as one condition.

The condition is SQL over the `documents` table of a version with every value bound, so that no
filter text ever becomes SQL. Its meaning for `where` is that of Chroma 1.5.9, checked against it in
the tests: a number equals a number whatever its type, true is not 1, and a document without the key
matches `$ne`, `$nin` and `$not_contains` only. One thing is different on purpose: Chroma drops the
fraction of 1.5 when it compares it with a stored integer, so that 1 equals 1.5; here it does not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite

from rag_assets.errors import BadRequest

EVERYONE = "everyone"
"""The group that every principal belongs to."""

COLUMNS = ("source", "doc_id", "uri", "title", "media_type", "language", "category")
"""Names that mean the document's own field where its metadata has no such key."""

_DEEPEST = 32  # nested $and/$or; SQLite's own limit on expression depth is 1000
_LARGEST = 500  # values in one filter; SQLite's oldest limit on bound values is 999
_INTEGER = 2**63


@dataclass(frozen=True, slots=True)
class Condition:
    """An SQL condition over `documents` and the values bound in it."""

    sql: str
    values: tuple[object, ...] = ()

    def __and__(self, other: "Condition") -> "Condition":
        return Condition(f"({self.sql}) AND ({other.sql})", self.values + other.values)


def document_condition(
    where: Mapping[str, object] | None,
    groups: Sequence[str] | None,
    now: datetime,
) -> Condition:
    """The documents that match `where`, are valid at `now` and that `groups` may read.

    groups: None is a trusted caller; otherwise only documents whose acl names one of the groups or
    `everyone`.
    Raises: BadRequest naming the operator or key that cannot be used.
    """
    condition = _valid(now)
    if groups is not None:
        condition = _readable(groups) & condition
    if where is not None:
        condition = where_condition(where) & condition
        if len(condition.values) > _LARGEST:
            raise BadRequest(f"where: more than {_LARGEST} values; narrow the filter down")
    return condition


def where_condition(where: Mapping[str, object]) -> Condition:
    """A filter in Chroma's `where` language.

    Raises: BadRequest naming the operator or key that cannot be used.
    """
    return _expression(where, 0)


def _valid(now: datetime) -> Condition:
    moment = now.astimezone(UTC).isoformat()
    return Condition(
        "(valid_from IS NULL OR valid_from <= ?) AND (valid_until IS NULL OR valid_until > ?)",
        (moment, moment),
    )


def _readable(groups: Sequence[str]) -> Condition:
    if isinstance(groups, str) or not all(isinstance(group, str) for group in groups):
        raise BadRequest(f"groups: expected a list of texts, found {groups!r}")
    names = sorted({EVERYONE, *groups})
    return Condition(
        f"EXISTS (SELECT 1 FROM json_each(documents.acl) WHERE value IN ({_marks(names)}))",
        tuple(names),
    )


def _expression(where: object, depth: int) -> Condition:
    if not isinstance(where, Mapping):
        raise BadRequest(f"where: expected an object, found {where!r}")
    if len(where) != 1:
        raise BadRequest(
            f"where: expected exactly one key or operator, found {sorted(map(str, where))};"
            " combine several with $and"
        )
    if depth > _DEEPEST:
        raise BadRequest(f"where: nested more than {_DEEPEST} deep")
    [(key, value)] = where.items()
    if not isinstance(key, str):
        raise BadRequest(f"where: expected a text as key, found {key!r}")
    if key in _JOINED:
        return _joined(key, value, depth)
    if key.startswith("$"):
        raise BadRequest(f"where: unknown operator {key}; expected {', '.join(_JOINED)} or a key")
    if not isinstance(value, Mapping):
        return _equal(key, _scalar(key, "$eq", value))
    if len(value) != 1:
        raise BadRequest(
            f"where: {key}: expected exactly one operator, found {sorted(map(str, value))};"
            " combine several with $and"
        )
    [(operator, operand)] = value.items()
    if operator not in _OPERATORS:
        raise BadRequest(
            f"where: {key}: unknown operator {operator}; expected {', '.join(_OPERATORS)}"
        )
    return _OPERATORS[operator](key, operand)


_JOINED = {"$and": " AND ", "$or": " OR "}


def _joined(operator: str, parts: object, depth: int) -> Condition:
    if not isinstance(parts, list | tuple) or len(parts) < 2:
        raise BadRequest(f"where: {operator}: expected a list of two or more filters")
    conditions = [_expression(part, depth + 1) for part in parts]
    return Condition(
        _JOINED[operator].join(f"({condition.sql})" for condition in conditions),
        tuple(value for condition in conditions for value in condition.values),
    )


def _equal(key: str, value: object) -> Condition:
    return _matching(key, _types(value), "{} = ?", (_bound(value),))


def _compared(operator: str, sign: str) -> Callable[[str, object], Condition]:
    def condition(key: str, operand: object) -> Condition:
        value = _scalar(key, operator, operand)
        if isinstance(value, bool | str):
            raise BadRequest(f"where: {key}: {operator} expects a number, found {operand!r}")
        return _matching(key, ("integer", "real"), f"{{}} {sign} ?", (_bound(value),))

    return condition


def _one_of(operator: str) -> Callable[[str, object], Condition]:
    def condition(key: str, operand: object) -> Condition:
        if not isinstance(operand, list | tuple) or not operand:
            raise BadRequest(f"where: {key}: {operator} expects a list that is not empty")
        values = [_scalar(key, operator, item) for item in operand]
        if len({type(value) for value in values}) > 1:
            raise BadRequest(
                f"where: {key}: {operator} expects values of one type, found {list(operand)!r}"
            )
        bound = tuple(dict.fromkeys(_bound(value) for value in values))
        types = tuple(dict.fromkeys(kind for value in values for kind in _types(value)))
        return _matching(key, types, f"{{}} IN ({_marks(bound)})", bound)

    return condition


def _holding(operator: str) -> Callable[[str, object], Condition]:
    def condition(key: str, operand: object) -> Condition:
        value = _scalar(key, operator, operand)
        types = _types(value)
        if len(types) > 1:  # lists are typed: of integers or of floats
            types = ("integer",) if isinstance(value, int) else ("real",)
        sql = (
            "EXISTS (SELECT 1 FROM json_each(documents.metadata) AS entry,"
            " json_each(entry.value) AS item WHERE entry.key = ? AND entry.type = 'array'"
            f" AND item.type IN ({_marks(types)}) AND item.value = ?)"
        )
        return Condition(sql, (key, *types, _bound(value)))

    return condition


def _opposite(
    positive: Callable[[str, object], Condition],
) -> Callable[[str, object], Condition]:
    def condition(key: str, operand: object) -> Condition:
        inner = positive(key, operand)
        return Condition(f"NOT ({inner.sql})", inner.values)

    return condition


_OPERATORS: dict[str, Callable[[str, object], Condition]] = {
    "$eq": lambda key, operand: _equal(key, _scalar(key, "$eq", operand)),
    "$ne": _opposite(lambda key, operand: _equal(key, _scalar(key, "$ne", operand))),
    "$gt": _compared("$gt", ">"),
    "$gte": _compared("$gte", ">="),
    "$lt": _compared("$lt", "<"),
    "$lte": _compared("$lte", "<="),
    "$in": _one_of("$in"),
    "$nin": _opposite(_one_of("$nin")),
    "$contains": _holding("$contains"),
    "$not_contains": _opposite(_holding("$not_contains")),
}


def _matching(key: str, types: Sequence[str], test: str, operands: tuple[object, ...]) -> Condition:
    """Documents whose metadata has `key` with a value of one of `types` for which `test` holds."""
    sql = (
        "EXISTS (SELECT 1 FROM json_each(documents.metadata) WHERE key = ?"
        f" AND type IN ({_marks(types)}) AND {test.format('value')})"
    )
    values = (key, *types, *operands)
    if key not in COLUMNS or "text" not in types:
        return Condition(sql, values)
    absent = "NOT EXISTS (SELECT 1 FROM json_each(documents.metadata) WHERE key = ?)"
    column = f"coalesce({test.format(f'documents.{key}')}, 0)"
    return Condition(f"({sql} OR ({absent} AND {column}))", (*values, key, *operands))


def _scalar(key: str, operator: str, value: object) -> str | int | float | bool:
    if not isinstance(value, str | int | float | bool):
        raise BadRequest(
            f"where: {key}: {operator} expects a text, number or boolean, found {value!r}"
        )
    if isinstance(value, float) and not isfinite(value):
        raise BadRequest(f"where: {key}: {operator} expects a finite number, found {value!r}")
    return value


def _types(value: object) -> tuple[str, ...]:
    """The JSON types, as SQLite names them, that a value can equal."""
    if isinstance(value, bool):
        return ("true",) if value else ("false",)
    return ("text",) if isinstance(value, str) else ("integer", "real")


def _bound(value: object) -> object:
    """The value as SQLite takes it: integers beyond 64 bits become floats."""
    if isinstance(value, int) and not -_INTEGER <= value < _INTEGER:
        return float(value)
    return value


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
