"""Which documents a search may return: `where`, time validity and access groups, as one mask.

The meaning of `where` is that of Chroma 1.5.9, checked against it in the tests: a number equals a
number whatever its type, true is not 1, and a document without the key matches `$ne`, `$nin` and
`$not_contains` only. One thing is different on purpose: Chroma drops the fraction of 1.5 when it
compares it with a stored integer, so that 1 equals 1.5; here it does not.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import ceil, floor, isfinite

import numpy as np

from rag_assets.errors import BadRequest
from rag_assets.index.columns import FALSE, INTEGER, REAL, TRUE, Column, Columns

EVERYONE = "everyone"
"""The group that every principal belongs to."""

Predicate = Callable[[Columns], np.ndarray]
"""The documents of a version for which a filter holds: bool (documents,)."""

_DEEPEST = 32  # nested $and and $or
_LARGEST = 10_000  # values in one list
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


def document_filter(
    where: Mapping[str, object] | None,
    groups: Sequence[str] | None,
    now: datetime,
) -> Callable[[Columns], np.ndarray | None]:
    """The documents that match `where`, are valid at `now` and that `groups` may read.

    groups: None is a trusted caller; otherwise only documents whose acl names one of the groups or
    `everyone`. The function returned gives None where the filter keeps every document.

    Raises: BadRequest naming the operator or key that cannot be used.
    """
    predicate = None if where is None else parse_where(where)
    readable = None if groups is None else _group_names(groups)
    moment = now.astimezone(UTC).isoformat()

    def mask(columns: Columns) -> np.ndarray | None:
        masks = [
            None if readable is None else columns.readable(readable),
            columns.valid(moment),
            None if predicate is None else predicate(columns),
        ]
        some = [found for found in masks if found is not None]
        return np.logical_and.reduce(some) if some else None

    return mask


def parse_where(where: Mapping[str, object]) -> Predicate:
    """A filter in Chroma's `where` language.

    Raises: BadRequest naming the operator or key that cannot be used.
    """
    return _expression(where, 0)


def _group_names(groups: Sequence[str]) -> list[str]:
    if isinstance(groups, str) or not all(isinstance(group, str) for group in groups):
        raise BadRequest(f"groups: expected a list of texts, found {groups!r}")
    return sorted({EVERYONE, *groups})


def _expression(where: object, depth: int) -> Predicate:
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
        return _equal(key, "$eq", value)
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
    return _OPERATORS[operator](key, operator, operand)


_JOINED = {"$and": np.logical_and, "$or": np.logical_or}


def _joined(operator: str, parts: object, depth: int) -> Predicate:
    if not isinstance(parts, list | tuple) or len(parts) < 2:
        raise BadRequest(f"where: {operator}: expected a list of two or more filters")
    predicates = [_expression(part, depth + 1) for part in parts]
    join = _JOINED[operator]
    return lambda columns: join.reduce([predicate(columns) for predicate in predicates])


def _equal(key: str, operator: str, operand: object) -> Predicate:
    value = _scalar(key, operator, operand)
    return lambda columns: _equals(columns.metadata(key), value)


def _one_of(key: str, operator: str, operand: object) -> Predicate:
    if not isinstance(operand, list | tuple) or not operand:
        raise BadRequest(f"where: {key}: {operator} expects a list that is not empty")
    if len(operand) > _LARGEST:
        raise BadRequest(f"where: {key}: {operator} expects at most {_LARGEST} values")
    values = {_scalar(key, operator, item) for item in operand}
    if len({type(item) for item in operand}) > 1:
        raise BadRequest(
            f"where: {key}: {operator} expects values of one type, found {list(operand)!r}"
        )

    def predicate(columns: Columns) -> np.ndarray:
        column = columns.metadata(key)
        return np.logical_or.reduce([_equals(column, value) for value in values])

    return predicate


def _compared(key: str, operator: str, operand: object) -> Predicate:
    value = _scalar(key, operator, operand)
    if isinstance(value, bool | str):
        raise BadRequest(f"where: {key}: {operator} expects a number, found {operand!r}")
    compare, whole = _COMPARISONS[operator]
    limit = whole(value)

    def predicate(columns: Columns) -> np.ndarray:
        column = columns.metadata(key)
        if _LOWEST <= limit <= _HIGHEST:
            integers = compare(column.integers, limit)
        else:
            integers = np.full(len(column.types), bool(compare(0, limit)))
        reals = compare(column.reals, float(value))
        return ((column.types == INTEGER) & integers) | ((column.types == REAL) & reals)

    return predicate


# An integer is above 1.5 when it is above 1, and at least 1.5 when it is at least 2.
_COMPARISONS: dict[str, tuple[Callable, Callable[[float], int]]] = {
    "$gt": (np.greater, floor),
    "$gte": (np.greater_equal, ceil),
    "$lt": (np.less, ceil),
    "$lte": (np.less_equal, floor),
}


def _holding(key: str, operator: str, operand: object) -> Predicate:
    value = _scalar(key, operator, operand)
    return lambda columns: columns.holding(key, _JSON_TYPES[type(value)](value), value)


# Lists are typed, as in Chroma: a list of integers holds 1, not 1.0.
_JSON_TYPES: dict[type, Callable[[object], str]] = {
    bool: lambda value: "true" if value else "false",
    int: lambda _: "integer",
    float: lambda _: "real",
    str: lambda _: "text",
}


def _opposite(positive: Callable[[str, str, object], Predicate]) -> Callable[..., Predicate]:
    def negative(key: str, operator: str, operand: object) -> Predicate:
        predicate = positive(key, operator, operand)
        return lambda columns: ~predicate(columns)

    return negative


_OPERATORS: dict[str, Callable[[str, str, object], Predicate]] = {
    "$eq": _equal,
    "$ne": _opposite(_equal),
    "$gt": _compared,
    "$gte": _compared,
    "$lt": _compared,
    "$lte": _compared,
    "$in": _one_of,
    "$nin": _opposite(_one_of),
    "$contains": _holding,
    "$not_contains": _opposite(_holding),
}


def _scalar(key: str, operator: str, value: object) -> str | int | float | bool:
    if not isinstance(value, str | int | float | bool):
        raise BadRequest(
            f"where: {key}: {operator} expects a text, number or boolean, found {value!r}"
        )
    if isinstance(value, float) and not isfinite(value):
        raise BadRequest(f"where: {key}: {operator} expects a finite number, found {value!r}")
    return value


def _equals(column: Column, value: str | int | float | bool) -> np.ndarray:
    if isinstance(value, bool):
        return column.types == (TRUE if value else FALSE)
    if isinstance(value, str):
        return column.equal_text(value)
    found = (column.types == REAL) & (column.reals == float(value))
    if value == int(value) and _LOWEST <= int(value) <= _HIGHEST:
        found |= (column.types == INTEGER) & (column.integers == int(value))
    return found
