"""Cutting a text where it falls apart most naturally, measured in the model's own tokens."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rag_assets.chunking.base import Chunk
from rag_assets.chunking.counting import counting, token_counts, word_sums
from rag_assets.chunking.grammars import grammar, has_grammar
from rag_assets.chunking.precut import cut_long, cut_unbroken
from rag_assets.chunking.sentences import sentence_windows
from rag_assets.config import ChunkProfile
from rag_assets.parsing.base import Heading, Page

if TYPE_CHECKING:
    from semantic_text_splitter import CodeSplitter, MarkdownSplitter, TextSplitter
    from tokenizers import Tokenizer

    Splitter = CodeSplitter | MarkdownSplitter | TextSplitter

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
    reserved: int = 0,
) -> list[Chunk]:
    """The chunks of a document, in order of their start.

    Every character of `text` that is not white space is in some chunk; no chunk has more tokens
    than `profile.size` or than `max_tokens` (the model's limit) leaves beside its special tokens
    and `reserved` tokens of context. Neighbours share up to `profile.overlap` tokens.
    Raises: ConfigError when the strategy needs a grammar that is not installed.
    """
    capacity = max(1, min(profile.size, max_tokens - _SPECIAL_TOKENS - reserved))
    overlap = min(profile.overlap, capacity // 2)
    longest = capacity * _CHARACTERS_PER_TOKEN
    for exact in (False, True):
        splitter = _splitter(tokenizer, _way(profile, media_type), capacity, overlap, exact)
        if profile.strategy == "sentence":
            spans = _in_order(_by_sentence(text, splitter, tokenizer, capacity, overlap, longest))
        else:
            spans = _in_order(_spans(text, splitter, longest))
        counts = token_counts([text[start:end] for start, end in spans], tokenizer)
        if max(counts, default=0) <= capacity:
            break
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


def _way(profile: ChunkProfile, media_type: str) -> str:
    """What the text is taken for: `markdown`, `text`, or the media type of code."""
    if profile.strategy == "code" and has_grammar(media_type):
        return media_type
    if profile.strategy == "markdown":
        return "markdown"
    marked_up = profile.strategy == "auto" and media_type.startswith(_MARKED_UP)
    return "markdown" if marked_up else "text"


def _by_sentence(
    text: str,
    splitter: "Splitter",
    tokenizer: "Tokenizer",
    capacity: int,
    overlap: int,
    longest: int,
) -> Iterator[tuple[int, int]]:
    """(start, end) of windows of sentences; those that do not fit after all are cut."""

    def count(texts: Sequence[str]) -> list[int]:
        return token_counts(texts, tokenizer)

    windows = list(sentence_windows(text, count, capacity, overlap))
    sizes = count([text[start:end] for start, end in windows])
    for (start, end), size in zip(windows, sizes, strict=True):
        if size <= capacity and end - start <= longest:
            yield start, end
            continue
        for low, high in _spans(text[start:end], splitter, longest):
            yield start + low, start + high


def _spans(text: str, splitter: "Splitter", longest: int) -> Iterator[tuple[int, int]]:
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


@lru_cache(maxsize=64)
def _splitter(
    tokenizer: "Tokenizer", way: str, capacity: int, overlap: int, exact: bool
) -> "Splitter":
    from semantic_text_splitter import CodeSplitter, MarkdownSplitter, TextSplitter

    sums = None if exact else word_sums(tokenizer)
    words = counting(tokenizer).to_str()
    if has_grammar(way):
        # A grammar is a pointer, which the splitter's types do not know.
        code: Any = CodeSplitter
        if sums is not None:
            return code.from_callback(grammar(way), sums, capacity, overlap=overlap)
        return code.from_huggingface_tokenizer_str(grammar(way), words, capacity, overlap=overlap)
    kind = MarkdownSplitter if way == "markdown" else TextSplitter
    if sums is not None:
        return kind.from_callback(sums, capacity, overlap=overlap)
    return kind.from_huggingface_tokenizer_str(words, capacity, overlap=overlap)


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
