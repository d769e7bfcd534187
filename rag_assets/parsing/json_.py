"""JSON and JSON lines: every value on a line of its own, under its key."""

import json
from typing import Any

from rag_assets.parsing.base import Parsed, Unparseable
from rag_assets.parsing.building import TextBuilder, clean_title
from rag_assets.parsing.decoding import decode
from rag_assets.parsing.text import parse_text

_DEEPEST = 100
_INDENT = "  "


def parse_json(data: bytes, name: str) -> Parsed:
    """A JSON document as indented `key: value` lines; broken JSON as the text it is."""
    value = _loaded(decode(data))
    if value is _BROKEN:
        return parse_text(data, name)
    builder = TextBuilder()
    records = value if isinstance(value, list) else [value]
    for record in records:
        builder.block("\n".join(_lines(record)))
    return builder.parsed("application/json", _title(value))


def parse_json_lines(data: bytes, name: str) -> Parsed:
    """One block for each line; a line that is not JSON stays as it is."""
    builder = TextBuilder()
    for line in decode(data).splitlines():
        value = _loaded(line)
        builder.block(line if value is _BROKEN else "\n".join(_lines(value)))
    return builder.parsed("application/x-ndjson")


_BROKEN = object()


def _loaded(text: str) -> Any:
    """The value; numbers stay the text they are written as."""
    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except ValueError:
        return _BROKEN
    except RecursionError as error:
        raise Unparseable("too_deep", "its values are nested too deeply") from error


def _title(value: Any) -> str | None:
    named = value if isinstance(value, dict) else {}
    return clean_title(named.get("title") or named.get("name"))


def _lines(value: Any, depth: int = 0) -> list[str]:
    """A value as lines, nested ones indented. Raises: Unparseable too_deep."""
    if depth > _DEEPEST:
        raise Unparseable("too_deep", f"its values are nested more than {_DEEPEST} levels deep")
    indent = _INDENT * depth
    if isinstance(value, dict):
        return [line for key, item in value.items() for line in _member(key, item, indent, depth)]
    if isinstance(value, list):
        return [line for item in value for line in _item(item, indent, depth)]
    return [indent + line for line in _written(value).splitlines()]


def _member(key: str, value: Any, indent: str, depth: int) -> list[str]:
    if isinstance(value, dict | list) and value:
        if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
            return [f"{indent}{key}: {', '.join(map(_written, value))}"]
        return [f"{indent}{key}:", *_lines(value, depth + 1)]
    first, *rest = _written(value).splitlines() or [""]
    return [f"{indent}{key}: {first}", *(indent + _INDENT + line for line in rest)]


def _item(value: Any, indent: str, depth: int) -> list[str]:
    lines = _lines(value, depth + 1)
    if lines:
        lines[0] = f"{indent}- {lines[0].lstrip()}"
    return lines


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or value in ({}, []):
        return ""
    return str(value)
