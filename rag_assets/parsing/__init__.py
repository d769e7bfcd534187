"""Bytes → text with structure: `parse` in this process, `parse_many` in children that can die."""

from rag_assets.parsing.base import (
    Heading,
    Page,
    Parsed,
    ParseLimits,
    ParseTask,
    Problem,
    Unparseable,
)
from rag_assets.parsing.pool import parse_many
from rag_assets.parsing.registry import parse

__all__ = [
    "Heading",
    "Page",
    "ParseLimits",
    "ParseTask",
    "Parsed",
    "Problem",
    "Unparseable",
    "parse",
    "parse_many",
]
