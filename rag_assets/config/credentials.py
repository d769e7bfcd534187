"""Credentials that stand in a configuration file, where only the names of variables belong."""

import re
from collections.abc import Iterator
from typing import Any

from rag_assets.config.base import Section

ADVICE = "write ${NAME} there and set that environment variable"
_LOGIN = re.compile(r"://[^/@\s:]*:[^/@\s]+@")
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_HEADERS = {"authorization", "proxy-authorization", "cookie", "x-api-key", "private-token"}


def literal_credentials(section: Section, written: Any, where: str = "") -> Iterator[str]:
    """The keys, such as `sources.0.token`, at which a file holds a credential itself.

    written: what the file says of the section, before variables were expanded.
    """
    for name, field in type(section).model_fields.items():
        value, raw = (
            getattr(section, name),
            written.get(name) if isinstance(written, dict) else None,
        )
        place = f"{where}.{name}" if where else name
        if isinstance(value, Section):
            yield from literal_credentials(value, raw, place)
        elif isinstance(value, list) and isinstance(raw, list):
            for number, (item, said) in enumerate(zip(value, raw, strict=False)):
                if isinstance(item, Section):
                    yield from literal_credentials(item, said, f"{place}.{number}")
        elif isinstance(value, dict) and isinstance(raw, dict):
            for header, said in raw.items():
                if str(header).lower() in _HEADERS and _is_literal(said):
                    yield f"{place}.{header}"
        elif _is_literal(raw) and isinstance(value, str):
            is_secret = not field.repr and not _URL.match(value)
            if is_secret or _LOGIN.search(value):
                yield place


def _is_literal(said: Any) -> bool:
    return isinstance(said, str) and bool(said) and "${" not in said
