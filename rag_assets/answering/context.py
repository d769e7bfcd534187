"""Which passages go to the model: whole ones, best first, within a budget of tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rag_assets.errors import BadRequest
from rag_assets.retrieval.base import Hit

CountTokens = Callable[[str], int]

_FRAME_TOKENS = 24  # the delimiters and the title line around one passage


@dataclass(frozen=True, slots=True)
class Source:
    """One numbered passage as the model sees it: a chunk, or adjacent chunks put together.

    `start` and `end` are character offsets into the document's text; `text` is exactly what stands
    between them. `rank` and `score` are those of its best chunk.
    """

    number: int
    uri: str
    doc_id: str
    chunk_id: str
    title: str
    heading: tuple[str, ...]
    start: int
    end: int
    text: str
    rank: int
    score: float


def pack(hits: Sequence[Hit], budget: int, count_tokens: CountTokens) -> list[Source]:
    """The passages that fit `budget` tokens, numbered from 1 in the order of their best chunk.

    Hits are taken best first; one that does not fit is passed over for the next. Nothing is cut.
    Chunks of a document that overlap or touch become one passage, without repeating what they
    share.

    Raises: BadRequest when there are hits and not even one fits.
    """
    chosen: list[Hit] = []
    packed: list[Source] = []
    for hit in hits:
        sources = _merged([*chosen, hit])
        if sum(count_tokens(source.text) + _FRAME_TOKENS for source in sources) <= budget:
            chosen.append(hit)
            packed = sources
    if hits and not packed:
        needed = count_tokens(hits[0].text) + _FRAME_TOKENS
        raise BadRequest(
            f"llm.max_context_tokens leaves {budget} tokens for passages, but the best one needs"
            f" {needed}; set it to {2 * needed} or more, or make chunks smaller"
        )
    return packed


def _merged(hits: Sequence[Hit]) -> list[Source]:
    """One source for each run of overlapping or touching chunks of a document, best first."""
    runs: list[Source] = []
    for hit in sorted(hits, key=lambda hit: (hit.doc_id, hit.start, hit.end)):
        last = runs[-1] if runs else None
        if last is None or last.doc_id != hit.doc_id or hit.start > last.end:
            runs.append(_source(hit))
        else:
            runs[-1] = _joined(last, hit)
    ranked = sorted(runs, key=lambda source: source.rank)
    return [replace(source, number=number) for number, source in enumerate(ranked, start=1)]


def _joined(first: Source, hit: Hit) -> Source:
    """`first` with the part of `hit` that lies beyond it; named after the better of the two."""
    text = first.text + hit.text[max(0, first.end - hit.start) :]
    better = first if first.rank < hit.rank else _source(hit)
    return replace(better, start=first.start, end=max(first.end, hit.end), text=text)


def _source(hit: Hit) -> Source:
    return Source(
        number=0,
        uri=hit.uri,
        doc_id=hit.doc_id,
        chunk_id=hit.chunk_id,
        title=hit.title,
        heading=hit.heading,
        start=hit.start,
        end=hit.end,
        text=hit.text,
        rank=hit.rank,
        score=hit.score,
    )
