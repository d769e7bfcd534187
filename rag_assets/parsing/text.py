"""Plain text."""

from rag_assets.parsing.base import Parsed, Unparseable
from rag_assets.parsing.decoding import decode
from rag_assets.parsing.normalise import normalise


def parse_text(data: bytes, name: str) -> Parsed:
    """A text file as it is."""
    return Parsed(readable(data), None, "text/plain")


def readable(data: bytes) -> str:
    """The normalised text of a text file. Raises: Unparseable when there is none."""
    text = normalise(decode(data))
    if not text or text.isspace():
        raise Unparseable("no_text", "there is nothing but white space in it")
    return text
