"""Cutting a text where it falls apart most naturally, measured in the model's own tokens."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from rag_assets.chunking.base import Chunk
from rag_assets.chunking.precut import cut_long, cut_unbroken
from rag_assets.config import ChunkProfile
from rag_assets.parsing.base import Heading, Page

if TYPE_CHECKING:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter
    from tokenizers import Tokenizer

_SPECIAL_TOKENS = 2  # around every text that a BERT-like model gets
# A tokenizer may count a word of any length as one token. Prose has 4 to 5 characters a token and
# indented code up to 10, so that a longer chunk is not text that anyone searches.
_CHARACTERS_PER_TOKEN = 16
_MARKED_UP = (
    "text/markdown",
    "text/html",
    "application/epub+zip",
    "application/vnd.openxmlformats-officedocument.",
    "application/vnd.oasis.opendocument.",
)


def chunk(
    text: str,
    *,
    media_type: str,
    headings: Sequence[Heading],
    pages: Sequence[Page],
    profile: ChunkProfile,
    tokenizer: "Tokenizer",
    max_tokens: int,
) -> list[Chunk]:
    """The chunks of a document, in order of their start.

    Every character of `text` that is not white space is in some chunk; no chunk has more tokens
    than `profile.size` or than `max_tokens` (the model's limit) leaves beside its special tokens.
    Neighbours share up to `profile.overlap` tokens.
    """
    capacity = max(1, min(profile.size, max_tokens - _SPECIAL_TOKENS))
    markdown = profile.strategy == "markdown" or (
        profile.strategy == "auto" and media_type.startswith(_MARKED_UP)
    )
    splitter = _splitter(tokenizer, markdown, capacity, min(profile.overlap, capacity // 2))
    spans = _in_order(_spans(text, splitter, capacity * _CHARACTERS_PER_TOKEN))
    counts = _token_counts([text[start:end] for start, end in spans], tokenizer)
    paths = _heading_paths(headings)
    heading_starts = [heading.start for heading in headings]
    page_starts = [page.start for page in pages]
    chunks = []
    for (start, end), tokens in zip(spans, counts, strict=True):
        above = bisect_right(heading_starts, start)
        page = bisect_right(page_starts, start)
        chunks.append(
            Chunk(
                text=text[start:end],
                start=start,
                end=end,
                tokens=tokens,
                headings=paths[above - 1] if above else (),
                page=pages[page - 1].number if page else None,
            )
        )
    return chunks


def _spans(
    text: str, splitter: "MarkdownSplitter | TextSplitter", longest: int
) -> Iterator[tuple[int, int]]:
    """(start, end) of each chunk."""
    for begin, stop in cut_unbroken(text):
        for offset, piece in splitter.chunk_indices(text[begin:stop]):
            start = begin + offset
            if len(piece) <= longest:
                yield start, start + len(piece)
                continue
            # Cutting through a word may give it more tokens, so every part is split once more.
            for low, high in cut_long(piece, longest):
                for inner, part in splitter.chunk_indices(piece[low:high]):
                    yield start + low + inner, start + low + inner + len(part)


def _in_order(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans by their start, without those that lie within the one before them."""
    kept: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if not kept or end > kept[-1][1]:
            kept.append((start, end))
    return kept


@lru_cache(maxsize=32)
def _splitter(
    tokenizer: "Tokenizer", markdown: bool, capacity: int, overlap: int
) -> "MarkdownSplitter | TextSplitter":
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    kind = MarkdownSplitter if markdown else TextSplitter
    words = _counting(tokenizer).to_str()
    return kind.from_huggingface_tokenizer_str(words, capacity, overlap=overlap)


@lru_cache(maxsize=8)
def _counting(tokenizer: "Tokenizer") -> "Tokenizer":
    """A copy without padding and truncation, which would falsify every count."""
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    copy.no_truncation()
    return copy


def _token_counts(texts: Sequence[str], tokenizer: "Tokenizer") -> list[int]:
    encodings = _counting(tokenizer).encode_batch_fast(texts, add_special_tokens=False)
    return [len(encoding.ids) for encoding in encodings]


def _heading_paths(headings: Sequence[Heading]) -> list[tuple[str, ...]]:
    """For each heading, the titles that lead to it, its own last."""
    paths = []
    above: list[Heading] = []
    for heading in headings:
        while above and above[-1].level >= heading.level:
            above.pop()
        above.append(heading)
        paths.append(tuple(outer.title for outer in above))
    return paths
