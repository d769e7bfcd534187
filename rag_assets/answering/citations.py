"""Citations that hold: every number names a passage, every quote stands in it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rag_assets.answering.base import Citation
from rag_assets.answering.context import Source
from rag_assets.answering.sentences import plain, sentences
from rag_assets.index.lexical import terms

_MARK = re.compile(r"\[(\d{1,3})\]")
_LIST = re.compile(r"\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})+)\]")
_CLAIM_END = re.compile(r"(?<=[.!?…。！？])\s+|\n+")
_SUPPORT = 0.2  # share of a claim's words that its quote must hold
_LONGEST_MARK = 12  # characters held back while a stream may be in the middle of a mark


@dataclass(frozen=True, slots=True)
class Checked:
    """A text with only the citations that hold, and how many did not.

    support: the mean share of the cited claims' words that stand in their quotes, 0 to 1.
    unproven: sentences at which no citation holds. removed_links: links and images taken out, of
    which no cited passage holds any.
    """

    text: str
    citations: tuple[Citation, ...]
    dropped: int
    support: float
    unproven: int = 0
    removed_links: int = 0


def check_citations(text: str, sources: Sequence[Source], *, drop: bool = False) -> Checked:
    """Verify every [n] of an answer against the passages it was given.

    A number without a passage, or whose passage says nothing of the sentence it stands at, is taken
    out of the text and counted. `[1, 2]` is read as `[1][2]`. drop: sentences at which no citation
    holds are taken out as well.
    """
    text = spelled_out(text)
    numbered = {source.number: source for source in sources}
    best: dict[int, tuple[float, Citation]] = {}
    kept_marks: list[tuple[int, int]] = []
    supports: list[float] = []
    proven: set[tuple[int, int]] = set()
    dropped = 0
    claims = list(_claims(text))
    for claim, mark, span in _marks(text, claims):
        source = numbered.get(mark)
        quoted = None if source is None else _quote(text[claim[0] : claim[1]], source)
        if quoted is None:
            dropped += 1
            continue
        proven.add(claim)
        kept_marks.append(span)
        supports.append(quoted[0])
        if mark not in best or quoted[0] > best[mark][0]:
            best[mark] = quoted
    unproven = [c for c in claims if c not in proven and terms(_unmarked(text, c))]
    shown = _without_other_marks(text, kept_marks, unproven if drop else [])
    return Checked(
        shown,
        tuple(citation for _, (_, citation) in sorted(best.items())),
        dropped,
        sum(supports) / len(supports) if supports else 0.0,
        len(unproven),
    )


def spelled_out(text: str) -> str:
    """`[1, 2]` as `[1][2]`."""
    return _LIST.sub(lambda m: "".join(f"[{n}]" for n in re.findall(r"\d+", m.group(1))), text)


class MarkFilter:
    """Takes marks without a passage out of a text that arrives in pieces."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._known = frozenset(numbers)
        self._held = ""

    def feed(self, piece: str) -> str:
        """What can be shown by now: everything up to a mark that may still be incomplete."""
        text = self._held + piece
        opening = text.rfind("[")
        complete = opening < 0 or "]" in text[opening:] or len(text) - opening > _LONGEST_MARK
        cut = len(text) if complete else opening
        self._held = text[cut:]
        return self._filtered(text[:cut])

    def finish(self) -> str:
        """The rest."""
        held, self._held = self._held, ""
        return self._filtered(held)

    def _filtered(self, text: str) -> str:
        def kept(match: re.Match[str]) -> str:
            return match.group() if int(match.group(1)) in self._known else ""

        return _MARK.sub(kept, spelled_out(text))


def _claims(text: str) -> Iterator[tuple[int, int]]:
    """The spans of the sentences and lines of an answer; together they are all of it."""
    start = 0
    for end in [*(match.end() for match in _CLAIM_END.finditer(text)), len(text)]:
        if end > start:
            yield start, end
        start = end


def _marks(
    text: str, claims: Sequence[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], int, tuple[int, int]]]:
    """(span of the claim, number, span of the mark) of every mark."""
    previous = None
    for start, end in claims:
        for match in _MARK.finditer(text, start, end):
            # "… thirty days. [1]": the mark stands after the full stop of its claim.
            before = _unmarked(text, (start, match.start())).strip()
            claim = (start, end) if before or previous is None else previous
            yield claim, int(match.group(1)), match.span()
        if _unmarked(text, (start, end)).strip():
            previous = (start, end)


def _unmarked(text: str, span: tuple[int, int]) -> str:
    return _MARK.sub("", text[span[0] : span[1]])


def _quote(claim: str, source: Source) -> tuple[float, Citation] | None:
    """The sentence of a passage that says most of a claim, or None if none says enough."""
    wanted = set(terms(plain(_MARK.sub("", claim))))
    context = set(terms(" ".join((source.title, *source.heading))))
    rated = []
    for sentence in sentences(source.text):
        said = set(terms(plain(sentence.text)))
        if wanted & said:
            share = len(wanted & (said | context)) / len(wanted)
            rated.append((share, len(wanted & said) / len(said), -sentence.start, sentence))
    if not rated:
        return None
    share, _, _, sentence = max(rated, key=lambda item: item[:3])
    if share < _SUPPORT:
        return None
    return share, Citation(
        number=source.number,
        uri=source.uri,
        doc_id=source.doc_id,
        title=source.title,
        heading=source.heading,
        start=source.start + sentence.start,
        end=source.start + sentence.end,
        quote=sentence.text,
        chunk_id=source.chunk_id,
        page=source.page(source.start + sentence.start),
    )


def _without_other_marks(
    text: str, kept: Sequence[tuple[int, int]], left_out: Sequence[tuple[int, int]]
) -> str:
    """The text with the marks that hold only, and without the claims to leave out."""
    spans = set(kept)
    pieces, position = [], 0
    for start, end in (*left_out, (len(text), len(text))):
        for match in _MARK.finditer(text, position, start):
            pieces.append(text[position : match.start()])
            pieces.append(match.group() if match.span() in spans else "")
            position = match.end()
        pieces.append(text[position:start])
        # Marks of the claim before may stand at the beginning of one that is left out.
        pieces += [m.group() + " " for m in _MARK.finditer(text, start, end) if m.span() in spans]
        position = end
    shown = "".join(pieces)
    return re.sub(r"[ \t]+([.,;:!?])", r"\1", re.sub(r"[ \t]{2,}", " ", shown)).strip()
