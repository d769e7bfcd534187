"""The embedding model's own tokenizer, and token ids for it in batches."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rag_assets.embedding.model_store import ModelFiles

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Texts tokenised by one call: the library's own objects take kilobytes a text until converted.
_CHUNK = 256


def load_tokenizer(files: ModelFiles) -> "Tokenizer":
    """The tokenizer of a model; its file's padding and truncation settings are dropped."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(files.tokenizer))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


class TokenIds:
    """Texts as token ids, cut at the model's limit."""

    def __init__(self, files: ModelFiles) -> None:
        self._counting = load_tokenizer(files)
        self._cutting = load_tokenizer(files)
        self._cutting.enable_truncation(files.max_tokens)

    def ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, int32 (tokens,), special tokens included."""
        found: list[np.ndarray] = []
        for start in range(0, len(texts), _CHUNK):
            encodings = self._cutting.encode_batch_fast(texts[start : start + _CHUNK])
            found += [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        return found

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, uncut and without special tokens."""
        counts: list[int] = []
        for start in range(0, len(texts), _CHUNK):
            encodings = self._counting.encode_batch_fast(
                texts[start : start + _CHUNK], add_special_tokens=False
            )
            counts += [len(encoding) for encoding in encodings]
        return counts
