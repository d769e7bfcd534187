"""Documents as messages: JSON objects that say what became of one document.

    {"id": "wiki/a.md", "version": 7, "text": "…", "title": "…", "metadata": {"team": "hr"}}
    {"id": "wiki/b.pdf", "version": "2026-05-01T10:00:00Z", "base64": "JVBERi0x…"}
    {"id": "wiki/c.md", "version": 8, "op": "delete"}

`version` orders the events of one document: a number, or a time in ISO form. Messages may come
twice and in any order.
"""

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Any

from rag_assets.sources.base import Scalar
from rag_assets.sources.kept import Event, key_problem

_MOST = 2**63 - 1
_KEYS = {
    "id", "version", "op", "text", "base64", "name", "uri", "title", "metadata", "acl",
    "valid_from", "valid_until",
}  # fmt: skip


def event_of(body: bytes) -> Event:
    """The event that a message is. Raises: ValueError saying what is wrong with it."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error})") from error
    if not isinstance(said, dict):
        raise ValueError(f"expected a JSON object, found {type(said).__name__}")
    unknown = sorted(set(said) - _KEYS)
    if unknown:
        raise ValueError(f"unknown keys {unknown[:5]}")
    operation = said.get("op", "put")
    if operation not in {"put", "delete"}:
        raise ValueError(f"op: expected put or delete, found {operation!r}")
    deleted = operation == "delete"
    return Event(
        key=_identity(said.get("id")),
        version=_version(said.get("version")),
        deleted=deleted,
        data=None if deleted else _data(said),
        name=_string(said, "name"),
        uri=_string(said, "uri"),
        title=_string(said, "title"),
        metadata=_metadata(said.get("metadata") or {}),
        acl=_acl(said.get("acl")),
        valid_from=_time(said, "valid_from"),
        valid_until=_time(said, "valid_until"),
    )


def _identity(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"id: expected a string, found {type(value).__name__}")
    problem = key_problem(value)
    if problem:
        raise ValueError(f"id: {problem}")
    return value


def _version(value: Any) -> int:
    """A number as it is; a time in microseconds."""
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1_000_000)
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError("version: expected a whole number from 0 to 2^63 - 1, or an ISO time")
    return value


def _data(said: dict[str, Any]) -> bytes:
    text, packed = said.get("text"), said.get("base64")
    if (text is None) == (packed is None) or not isinstance(text or packed or "", str):
        raise ValueError("expected a string in text, or one in base64")
    if text is not None:
        return str(text).encode()
    try:
        return base64.b64decode(str(packed), validate=True)
    except binascii.Error as error:
        raise ValueError(f"base64: {error}") from error


def _string(said: dict[str, Any], name: str) -> str | None:
    value = said.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name}: expected a string, found {type(value).__name__}")
    return value or None


def _metadata(value: Any) -> dict[str, Scalar]:
    plain = str | int | float | bool | None
    if not isinstance(value, dict) or not all(isinstance(item, plain) for item in value.values()):
        raise ValueError("metadata: expected an object of plain values")
    return value


def _acl(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("acl: expected a list of strings")
    return tuple(value)


def _time(said: dict[str, Any], name: str) -> datetime | None:
    value = _string(said, name)
    if value is None:
        return None
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
