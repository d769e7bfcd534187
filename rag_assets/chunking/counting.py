"""Counting tokens as the model would, without what would falsify a count."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@lru_cache(maxsize=8)
def counting(tokenizer: "Tokenizer") -> "Tokenizer":
    """A copy without padding and truncation."""
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    copy.no_truncation()
    return copy


def token_counts(texts: Sequence[str], tokenizer: "Tokenizer") -> list[int]:
    """Tokens of each text, without special tokens."""
    encodings = counting(tokenizer).encode_batch_fast(texts, add_special_tokens=False)
    return [len(encoding.ids) for encoding in encodings]
