"""OpenAI's cl100k vocabulary as a `tokenizers.Tokenizer`, without network access.

Its embedding models use it, and token counts of other services come close. The vocabulary file is
the one that litellm ships; the merges that tokenizers wants follow from its ranks. Special tokens
are left out on purpose: `<|endoftext|>` in a document is ordinary text.
"""

import base64
import importlib.util
import threading
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from rag_assets.embedding.atomic import write_atomically
from rag_assets.embedding.model_store import cache_directory
from rag_assets.errors import ModelNotFound

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# sha1 of the file's address, which is what tiktoken and litellm name it by
_FILE = "litellm_core_utils/tokenizers/9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_building = threading.Lock()


def reference_tokenizer() -> "Tokenizer":
    """The tokenizer, made once a machine (a few seconds) and kept in the model cache.

    Raises: ModelNotFound when the installed litellm does not bring the vocabulary.
    """
    with _building:
        return _reference_tokenizer()


@cache
def _reference_tokenizer() -> "Tokenizer":
    from tokenizers import Tokenizer

    cached = cache_directory() / "tokenizers" / "cl100k-1.json"
    if not cached.is_file():
        write_atomically(cached, [_built(_ranks()).to_str().encode()])
    return Tokenizer.from_file(str(cached))


def _ranks() -> dict[bytes, int]:
    spec = importlib.util.find_spec("litellm")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    try:
        lines = (folder / _FILE).read_bytes().splitlines()
    except OSError as error:
        raise ModelNotFound(
            f"{folder / _FILE}: the vocabulary that counts tokens of remote models is missing;"
            " reinstall litellm."
        ) from error
    pairs = (line.split() for line in lines if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def _built(ranks: dict[bytes, int]) -> "Tokenizer":
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    letters = _byte_letters()

    def spelled(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    merges = [
        (spelled(left), spelled(right))
        for token, rank in ranks.items()
        if len(token) > 1
        for left, right in [_last_merge(token, rank, ranks)]
    ]
    vocabulary = {spelled(token): rank for token, rank in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _last_merge(token: bytes, rank: int, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two parts that byte pair encoding joins last to make `token`."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        joined = [ranks.get(left + right, rank) for left, right in pairwise(parts)]
        best = min(range(len(joined)), key=joined.__getitem__)
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts[0], parts[1]


def _byte_letters() -> list[str]:
    """The printable letter that byte-level BPE writes for each byte: itself, or one from U+0100."""
    itself = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in itself else next(others)) for byte in range(256)]
