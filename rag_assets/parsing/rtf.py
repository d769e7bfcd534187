"""Rich Text Format."""

import re

from rag_assets.parsing.base import Parsed, Scalar
from rag_assets.parsing.building import TextBuilder

_INFO = re.compile(rb"\{\\(title|author|subject|keywords)\s+([^{}\\]{1,500})\}")


def parse_rtf(data: bytes, name: str) -> Parsed:
    """The text of the document; tables become lines with bars."""
    from striprtf.striprtf import rtf_to_text

    source = data.decode("latin-1")
    builder = TextBuilder()
    for paragraph in rtf_to_text(source, errors="replace").split("\n"):
        builder.block(paragraph)
    found: dict[str, Scalar] = {
        key.decode(): value.decode("cp1252", "replace")
        for key, value in _INFO.findall(data[:65536])
    }
    title = found.pop("title", None)
    return builder.parsed("application/rtf", str(title) if title else None, found)
