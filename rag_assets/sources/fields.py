"""Values of a record by path, and texts put together from them."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from rag_assets.sources.base import Scalar

_PLACE = re.compile(r"\{([^{}]+)\}")
_LONE = re.compile("[\ud800-\udfff]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


def value_at(record: Any, path: str) -> Any:
    """The value at a dotted path such as `data.items.0.id`; None where there is none."""
    for part in path.split(".") if path else ():
        if isinstance(record, Mapping):
            record = record.get(part)
        elif isinstance(record, list) and part.isdigit() and int(part) < len(record):
            record = record[int(part)]
        else:
            return None
    return record


def text_at(record: Any, wanted: str | None) -> str:
    """The text at a path, or a template such as `{subject}: {body}` filled from the record."""
    if not wanted:
        return ""
    if "{" not in wanted:
        return written(value_at(record, wanted))
    return _PLACE.sub(lambda place: written(value_at(record, place[1])), wanted).strip()


def written(value: Any) -> str:
    """A value as text: dates in ISO form, lists joined by commas, nothing for what has no text."""
    if type(value) is int or (type(value) is str and value.isascii()):
        return str(value)
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(written, value)))
    scalar = scalar_of(value)
    return "" if scalar is None else _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", str(scalar))


def moment_of(value: Any) -> datetime | None:
    """A time as a database or an API tells it, in UTC where it names no zone; None for others."""
    if isinstance(value, str) and value[:4].isdigit() and "-" in value:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def printable(text: str) -> str:
    """The text with every byte that was not UTF-8 (a lone surrogate in Python) as %XX."""
    if text.isascii():
        return text
    return _LONE.sub(lambda run: quote(run[0].encode("utf-8", "surrogateescape"), safe=""), text)


def scalar_of(value: Any) -> Scalar:
    """A value as metadata can hold it; None for what is not plain."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return value if isinstance(value, str | int | float | bool) else None
