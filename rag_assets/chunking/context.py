"""The context a chunk is embedded with: where it stands, in its document's own words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag_assets.chunking.counting import counting

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONTEXT_TOKENS = 48
"""What is kept free for it in the model's window."""


def context_of(title: str | None, headings: Sequence[str], tokenizer: "Tokenizer") -> str:
    """Title and headings above a chunk, outermost first; empty where there is neither.

    What is too long loses its beginning: the nearest heading says most.
    """
    parts = dict.fromkeys(" ".join(part.split()) for part in (title or "", *headings))
    line = " › ".join(part for part in parts if part)
    offsets = counting(tokenizer).encode(line, add_special_tokens=False).offsets
    return line if len(offsets) <= CONTEXT_TOKENS else line[offsets[-CONTEXT_TOKENS][0] :]
