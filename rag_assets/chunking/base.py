"""The contract of this room: a document's text in, pieces of it that fit the model out."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document's text.

    start, end: characters into that text; `text` is exactly what lies between them.
    tokens: of the embedding model's tokenizer, without special tokens.
    headings: titles above the start of the chunk, outermost first; its own heading if it opens with
    one. page: the number of the page that it starts on.
    """

    text: str
    start: int
    end: int
    tokens: int
    headings: tuple[str, ...]
    page: int | None
