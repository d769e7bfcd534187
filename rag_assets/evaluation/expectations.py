"""Documents that eval queries expect, and that a refresh lets go.

Metrics expect nothing of documents that are gone, so a version that lost a fifth of them looks as
good as before. But people ask for them: here they count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from rag_assets.config import Gate
from rag_assets.evaluation.eval_set import EvalQuery, EvalSet
from rag_assets.evaluation.pairing import question_of
from rag_assets.evaluation.rates import Rate
from rag_assets.evaluation.significance import p_in_words
from rag_assets.index.base import CheckOutcome

CHECK = "expected_documents"
_SHOWN = 20  # queries in the details
_ADVICE = (
    "if they are meant to be gone, run `rag-assets refresh --confirm-deletes`, or change the eval"
    " set"
)


@dataclass(frozen=True, slots=True)
class _Kept:
    """Of the documents that one query expects and the live version holds: those that are gone."""

    set_name: str
    query: EvalQuery
    expected: int
    gone: tuple[str, ...]

    @property
    def share(self) -> float:
        return 1 - len(self.gone) / self.expected


def judge_expected_documents(
    sets: Sequence[EvalSet], live: Mapping[str, str], candidate: Mapping[str, str], gate: Gate
) -> CheckOutcome:
    """Does the candidate still hold what eval queries expect of the live version?

    live, candidate: doc_id to content hash of every document. One whose content came back under
    another name is not lost. `value` is the share that is left, by query; it is refused when it is
    below the gate's floor and chance does not explain it. Queries of a set that ask the same and
    expect the same count once.
    """
    there = set(candidate.values())
    gone = {d for d, content in live.items() if d not in candidate and content not in there}
    every = {
        (one.name, question_of(query), tuple(sorted(query.relevant))): _Kept(
            one.name, query, len(expected), tuple(d for d in expected if d in gone)
        )
        for one in sets
        for query in one.queries
        if (expected := [doc_id for doc_id in query.relevant if doc_id in live])
    }
    asked = list(every.values())
    if not asked:
        return CheckOutcome(CHECK, True, "nothing to ask: no query expects a document that is live")
    lost = [kept for kept in asked if kept.gone]
    if not lost:
        summary = f"passed: all documents that {len(asked)} queries expect are still there"
        return CheckOutcome(CHECK, True, summary, 1.0, gate.expected_documents)
    # A share between 0 and 1 varies less than a yes or no of the same mean: the test is cautious.
    rate = Rate(ceil(sum(kept.share for kept in asked) - 1e-9), len(asked), gate.expected_documents)
    found = (
        f"{len(lost)} of {len(asked)} queries lost documents that they expect;"
        f" {rate.value:.0%} is left, floor {rate.floor:.0%}"
    )
    too_few = len(asked) < gate.min_queries
    refused, unsure = rate.refused and not too_few, rate.unsure or (rate.refused and too_few)
    if refused:
        summary = f"refused because {found}, p {p_in_words(rate.p)}; {_ADVICE}"
    elif unsure:
        needed = max(rate.needed, gate.min_queries)
        summary = f"cannot tell: {found}; needs {needed} queries"
    else:
        summary = f"passed: {found}"
    rows = [
        {
            "set": kept.set_name,
            "id": kept.query.id,
            "query": kept.query.query,
            "gone": ", ".join(kept.gone),
        }
        for kept in sorted(lost, key=lambda kept: (kept.share, kept.query.id))[:_SHOWN]
    ]
    return CheckOutcome(
        CHECK, not refused, summary, rate.value, rate.floor, not unsure, {"queries": rows}
    )
