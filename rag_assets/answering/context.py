"""Which passages go to the model: whole ones, best first, within a budget of tokens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rag_assets.errors import BadRequest
from rag_assets.index.lexical import terms
from rag_assets.retrieval.base import Hit

CountTokens = Callable[[str], int]

_FRAME_TOKENS = 48  # the delimiters and the title line around one passage
_LINE_TOKENS = 6  # the mark before each of its lines
_ALIKE = 0.7  # share of the shorter one's words from which two passages are variants of one text
_FEWEST = 8  # words below which passages are alike by accident
_VARIANTS = 2  # of one text that come before other texts: two that differ in what matters are seen


@dataclass(frozen=True, slots=True)
class Source:
    """One numbered passage as the model sees it: a chunk, or adjacent chunks put together.

    `start` and `end` are character offsets into the document's text; `text` is exactly what stands
    between them. `rank` and `score` are those of its best chunk. pages: where each of its chunks
    starts, and on which page, in order.
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
    source: str = ""
    pages: tuple[tuple[int, int | None], ...] = ()

    def page(self, place: int) -> int | None:
        """The page of the chunk in which a place of the document stands."""
        before = [page for start, page in self.pages if start <= place]
        return before[-1] if before else None


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
        if sum(_needed(source.text, count_tokens) for source in sources) <= budget:
            chosen.append(hit)
            packed = sources
    if hits and not packed:
        needed = _needed(hits[0].text, count_tokens)
        raise BadRequest(
            f"llm.max_context_tokens leaves {budget} tokens for passages, but the best one needs"
            f" {needed}; set it to {2 * needed} or more, or make chunks smaller"
        )
    return packed


def _needed(text: str, count_tokens: CountTokens) -> int:
    return count_tokens(text) + _FRAME_TOKENS + _LINE_TOKENS * (text.count("\n") + 1)


def distinct(hits: Sequence[Hit], trust: Mapping[str, float], limit: int) -> list[Hit]:
    """`limit` hits, best first, among which few say nearly the same.

    Passages of different documents that share most words are variants of one text. Of each text the
    two best of the most trusted sources come first and the others after everything else, so that a
    crowd of variants cannot fill the context. trust: by source; 1 if missing.
    """
    texts: list[list[tuple[str, frozenset[str]]]] = []
    ahead: list[Hit] = []
    behind: list[Hit] = []
    for hit in sorted(hits, key=lambda hit: (-trust.get(hit.source, 1.0), hit.rank)):
        own = (hit.doc_id, frozenset(terms(hit.text)))
        variants = next((text for text in texts if any(_alike(own, one) for one in text)), None)
        if variants is None:
            variants = []
            texts.append(variants)
        variants.append(own)
        (ahead if len(variants) <= _VARIANTS else behind).append(hit)
    ranked = [*sorted(ahead, key=_rank), *sorted(behind, key=_rank)]
    return sorted(ranked[:limit], key=_rank)


def _rank(hit: Hit) -> int:
    return hit.rank


def _alike(first: tuple[str, frozenset[str]], second: tuple[str, frozenset[str]]) -> bool:
    smaller = min(len(first[1]), len(second[1]))
    shared = len(first[1] & second[1])
    return first[0] != second[0] and smaller >= _FEWEST and shared >= _ALIKE * smaller


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
    pages = (*first.pages, (hit.start, hit.page))
    end = max(first.end, hit.end)
    return replace(better, start=first.start, end=end, text=text, pages=pages)


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
        source=hit.source,
        pages=((hit.start, hit.page),),
    )
