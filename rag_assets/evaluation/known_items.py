"""Known items: what a refresh changed must be found by its own words.

An eval set says nothing of documents that nobody has asked about yet. For those, a sentence taken
out of the document is the question and the document the answer (Beitzel et al. 2003, Azzopardi et
al. 2007). A person's question is harder, so a failure here is never the question's fault.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rag_assets.evaluation.rates import Rate
from rag_assets.evaluation.significance import p_in_words
from rag_assets.index.base import CheckOutcome, OpenVersion, Passage
from rag_assets.records import digest_of
from rag_assets.retrieval.base import Hit

DEPTH = 10
"""A known item counts as found among this many passages."""

_PROBES = 40  # documents asked about; half of 0.8 is then found out with certainty
_WORDS = 16  # of a probe
_FEWEST_WORDS = 4  # a document without so long a sentence is not asked about
_SENTENCE = re.compile(r"[^.!?\n|]+")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Probe:
    """Words that stand in a chunk of a document."""

    doc_id: str
    chunk_id: str
    query: str


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A probe, whether its document was found, and what came instead."""

    probe: Probe
    found: bool
    came: tuple[str, ...]
    error: str | None = None


def make_probes(version: OpenVersion, changed: Iterable[str]) -> list[Probe]:
    """One probe for each of at most 40 changed documents, chosen by their ids alone."""
    chosen = sorted(changed, key=digest_of)[:_PROBES]
    probes = (_probe(doc_id, version.passages(version.chunk_ids([doc_id]))) for doc_id in chosen)
    return [probe for probe in probes if probe is not None]


def ask_probes(
    probes: Sequence[Probe], search_fn: Callable[[str, int], Sequence[Hit]]
) -> list[ProbeResult]:
    """Search for each probe; another document with the same words counts as found."""
    return [_asked(probe, search_fn) for probe in probes]


def judge_known_items(results: Sequence[ProbeResult], floor: float) -> CheckOutcome:
    """Are the changed documents found, beyond what chance explains?

    `value` is the share found; a single failure among few documents refuses nothing and says so.
    """
    name = "known_items"
    if not results:
        return CheckOutcome(name, True, "nothing to ask: no document with a sentence changed")
    missed = [result for result in results if not result.found]
    rate = Rate(len(results) - len(missed), len(results), floor)
    found = f"{rate.successes} of {rate.trials} changed documents found by their own words"
    if rate.refused:
        summary = f"refused because only {found}, floor {floor:.0%}, p {p_in_words(rate.p)}"
    elif rate.unsure:
        summary = f"cannot tell: {found}, floor {floor:.0%}; needs {rate.needed} documents"
    else:
        summary = f"passed: {found}"
    details = {**rate.as_json(), "missed": [_row(result) for result in missed]}
    return CheckOutcome(
        name, not rate.refused, summary, rate.value, floor, not rate.unsure, details
    )


def _probe(doc_id: str, chunks: Sequence[Passage]) -> Probe | None:
    """The longest sentence of the document's chunks, cut to so many words."""
    best: tuple[int, str, Passage] | None = None
    for chunk in chunks:
        for sentence in _SENTENCE.findall(chunk.text):
            words = _WORD.findall(sentence)
            different = len({word.casefold() for word in words[:_WORDS]})
            if best is None or different > best[0]:
                best = (different, " ".join(words[:_WORDS]), chunk)
    if best is None or best[0] < _FEWEST_WORDS:
        return None
    return Probe(doc_id, best[2].chunk_id, best[1])


def _asked(probe: Probe, search_fn: Callable[[str, int], Sequence[Hit]]) -> ProbeResult:
    try:
        hits = search_fn(probe.query, DEPTH)
    except Exception as error:  # noqa: BLE001 - whatever a search raises is an item not found
        return ProbeResult(probe, False, (), f"{type(error).__name__}: {error}")
    found = any(
        probe.doc_id in (hit.doc_id, *(other.doc_id for other in hit.also_at))
        or probe.query in " ".join(_WORD.findall(hit.text))
        for hit in hits
    )
    return ProbeResult(probe, found, tuple(dict.fromkeys(hit.doc_id for hit in hits))[:3])


def _row(result: ProbeResult) -> dict[str, object]:
    return {
        "chunk_id": result.probe.chunk_id,  # not its words, which logs would keep for good
        "expected": result.probe.doc_id,
        "found": ", ".join(result.came),
        "error": result.error,
    }
