"""Does what we judge by still resemble what we serve? Findings that warn and never block.

An eval set is never shrunk to fit: a query whose documents are gone stays, is counted, and shown.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from rag_assets.evaluation.eval_set import EvalSet
from rag_assets.evaluation.report import EvalReport
from rag_assets.index.base import CheckOutcome

STALE = 0.05  # of the answerable queries, above which people should look
_UNHEARD_SOURCE = 20  # documents from which a source without any query is worth a warning
_ODD_QUANTILE = 0.05  # by construction this share of the reference is as odd as what is called odd
_ODD = 0.25  # share of odd ones above which a distribution has moved
_FEWEST = 20  # texts; fewer say nothing of a distribution
_TAKEN = 0.2  # share of the top places in the hands of what just came
_TOP = 5
_SHOWN = 20


def stale_expectations(reports: Sequence[EvalReport]) -> CheckOutcome:
    """Eval queries whose expected documents are gone, and passages that are found nowhere."""
    name = "stale_expectations"
    answerable = [r for report in reports for r in report.results if r.query.answerable]
    if not answerable:
        return CheckOutcome(name, True, "there are no answerable queries")
    stale = [result for result in answerable if result.stale]
    partly = [result for result in answerable if not result.stale and result.missing]
    lost = [result for result in answerable if result.lost and not result.stale]
    share = (len(stale) + len(lost)) / len(answerable)
    summary = (
        f"{len(stale)} of {len(answerable)} queries expect only documents that are gone,"
        f" {len(partly)} some; {len(lost)} expect passages that no expected document holds"
    )
    rows = [
        {
            "id": result.query.id,
            "query": result.query.query,
            "gone": ", ".join(result.missing),
            "lost_passages": " … ".join(result.lost),
        }
        for result in (*stale, *lost, *partly)
    ]
    return CheckOutcome(
        name, share <= STALE, summary, share, STALE, details={"queries": rows[:_SHOWN]}
    )


def eval_coverage(sets: Sequence[EvalSet], documents: Collection[str]) -> CheckOutcome:
    """How many queries and documents each source has; a source that nobody asks about warns.

    documents: the doc_ids of the version. `value` is the share of documents that a query expects.
    """
    name = "eval_coverage"
    held = Counter(doc_id.partition("/")[0] for doc_id in documents)
    queries = [query for one in sets for query in one.queries if query.answerable]
    asked = Counter(s for q in queries for s in {d.partition("/")[0] for d in q.relevant})
    expected = {doc_id for query in queries for doc_id in query.relevant} & set(documents)
    covered = Counter(doc_id.partition("/")[0] for doc_id in expected)
    rows = [
        {
            "source": source,
            "documents": count,
            "queries": asked[source],
            "documents_asked_about": covered[source],
        }
        for source, count in held.most_common()
    ]
    unheard = [
        f"{source} ({count} documents)"
        for source, count in held.items()
        if not asked[source] and count >= _UNHEARD_SOURCE
    ]
    share = len(expected) / max(len(documents), 1)
    summary = (
        f"no query asks about {', '.join(unheard)}; `rag-assets evalset propose` drafts some"
        if unheard
        else f"every large source is asked about; {share:.0%} of the documents are expected by one"
    )
    return CheckOutcome(name, not unheard, summary, share, details={"sources": rows})


def odd_ones(vectors: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Which of `vectors` are farther from all of `reference` than that is from itself.

    Both float32 (n, dim), L2-normalised; at least two in `reference`. Returns bool (n,). A vector
    is odd when its nearest neighbour is farther than that of all but 5 % of the reference, each
    of which is compared with all others.
    """
    within = reference @ reference.T
    np.fill_diagonal(within, -1.0)
    threshold = np.quantile(within.max(axis=1), _ODD_QUANTILE)
    return np.asarray((vectors @ reference.T).max(axis=1) < threshold)


def query_mix(
    questions: Sequence[str], vectors: np.ndarray, eval_vectors: np.ndarray
) -> CheckOutcome:
    """Do people ask what the eval set asks?

    vectors: of `questions`, float32 (n, dim); eval_vectors: of the eval set's queries.
    """
    name = "query_mix"
    if len(questions) < _FEWEST or len(eval_vectors) < _FEWEST:
        summary = (
            f"cannot tell: {len(questions)} logged questions and {len(eval_vectors)} eval queries,"
            f" needs {_FEWEST} of each"
        )
        return CheckOutcome(name, True, summary)
    odd = odd_ones(vectors, eval_vectors)
    share = float(odd.mean())
    nearest = (vectors @ eval_vectors.T).max(axis=1)
    rows = [
        {"question": questions[place], "nearest_eval_query": float(nearest[place])}
        for place in np.argsort(nearest)[:_SHOWN]
        if odd[place]
    ]
    summary = (
        f"{share:.0%} of {len(questions)} logged questions resemble no eval query"
        f" ({_ODD_QUANTILE:.0%} would be usual)"
    )
    return CheckOutcome(name, share <= _ODD, summary, share, _ODD, details={"questions": rows})


def embedding_shift(
    added: np.ndarray, live: np.ndarray, texts: Sequence[Mapping[str, object]]
) -> CheckOutcome:
    """Do the chunks that came in resemble those that were there?

    added, live: samples float32 (n, dim), L2-normalised. texts: rows that describe `added`.
    """
    name = "embedding_shift"
    if len(added) < _FEWEST or len(live) < _FEWEST:
        summary = f"nothing to compare: {len(added)} chunks came in, {len(live)} were there"
        return CheckOutcome(name, True, summary)
    odd = odd_ones(added, live)
    share = float(odd.mean())
    middle, other = added.mean(axis=0), live.mean(axis=0)
    cosine = float(middle @ other / (np.linalg.norm(middle) * np.linalg.norm(other)))
    rows = [dict(texts[place]) for place in np.flatnonzero(odd)[:_SHOWN]]
    summary = (
        f"{share:.0%} of {len(added)} new chunks resemble nothing that was there"
        f" ({_ODD_QUANTILE:.0%} would be usual); cosine of the means {cosine:.3f}"
    )
    return CheckOutcome(
        name, share <= _ODD, summary, share, _ODD, details={"mean_cosine": cosine, "chunks": rows}
    )


def top_takeover(
    reports: Sequence[EvalReport], changed: Collection[str], documents: int
) -> CheckOutcome:
    """Do documents that just came in push their way to the top of many eval queries?

    changed: those the version holds and its parent did not, or with other content; documents: how
    many the version holds. A takeover is the mark of a poisoned or a carelessly copied source.
    """
    name = "top_takeover"
    judged = [result for report in reports for result in report.judged]
    places = [
        (result, doc_id)
        for result in judged
        for doc_id in result.ranking[:_TOP]
        if doc_id not in result.relevant
    ]
    total = sum(len(result.ranking[:_TOP]) for result in judged)
    if not total or not changed:
        return CheckOutcome(name, True, "nothing came in that could have taken a place")
    taken = Counter(doc_id for _, doc_id in places if doc_id in set(changed))
    share = sum(taken.values()) / total
    part = len(changed) / max(documents, 1)
    summary = (
        f"{share:.0%} of the first {_TOP} places of {len(judged)} queries went to documents that"
        f" just came in and are not expected; they are {part:.0%} of all documents"
    )
    rows = [{"doc_id": doc_id, "places": count} for doc_id, count in taken.most_common(_SHOWN)]
    passed = share <= max(_TAKEN, 1.5 * part)
    return CheckOutcome(name, passed, summary, share, _TAKEN, details={"documents": rows})
