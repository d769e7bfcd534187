"""Metadata in front of a text: YAML or TOML front matter, and header fields as in a mail."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from rag_assets.parsing.base import Scalar

_BLOCK = re.compile(r"(---|\+\+\+)\n(.*?)\n\1(?:\n+|\Z)", re.DOTALL)
_FIELD = re.compile(r":?([A-Za-z][A-Za-z0-9 _-]{0,40}):[ \t]+(\S.*)|:?([A-Za-z][\w-]{0,40}):$")
_LARGEST = 64 << 10  # characters


def split_front_matter(text: str) -> tuple[dict[str, Scalar], int]:
    """The fields of a front matter block, and where the text behind it starts (0 without one)."""
    block = _BLOCK.match(text, 0, _LARGEST)
    values = _loaded(block[1], block[2]) if block else None
    if block is None or values is None or block.end() >= len(text):
        return {}, 0
    return plain(values), block.end()


def _loaded(fence: str, body: str) -> Mapping[str, Any] | None:
    import tomllib

    import yaml

    try:
        values = yaml.safe_load(body) if fence == "---" else tomllib.loads(body)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def plain(values: Mapping[Any, Any]) -> dict[str, Scalar]:
    """Scalars as they are, dates in ISO form, lists of scalars joined by commas; nothing deeper."""
    found: dict[str, Scalar] = {}
    for key, value in values.items():
        if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
            value = ", ".join(map(str, value))
        if isinstance(value, datetime | date):
            value = value.isoformat()
        if isinstance(value, str | int | float | bool) and isinstance(key, str):
            found[key.strip().lower()] = value
    return found


def header_fields(text: str) -> dict[str, Scalar]:
    """Fields such as `Author: …` on the first lines of a text, up to the first blank line.

    At least two are needed; indented lines continue the field above them.
    """
    found: dict[str, Scalar] = {}
    key = None
    for line in text[:_LARGEST].split("\n"):
        if not line.strip():
            break
        if key and line[0] in " \t":
            found[key] = f"{found[key]} {line.strip()}".strip()
            continue
        field = _FIELD.fullmatch(line)
        if not field:
            return {}
        key = (field[1] or field[3]).strip().lower()
        found[key] = (field[2] or "").strip()
    return found if len(found) > 1 else {}
