"""The same questions on two versions, on equal terms.

A version is not better or worse for holding another document: what only one of the two holds is
neither expected of it nor counted as a place of its rankings. A question that a set asks several
times is one question, for its answers are not independent of each other.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from rag_assets.evaluation.eval_set import EvalQuery
from rag_assets.evaluation.report import EvalReport, QueryResult
from rag_assets.evaluation.significance import PairedDifference, paired_difference


class Pair(NamedTuple):
    """One query's results on both versions, over the expected documents that both hold."""

    set_name: str
    new: QueryResult
    old: QueryResult

    def counts_for(self, metric: str) -> bool:
        """Whether a metric says anything of both results."""
        return self.new.counts_for(metric) and self.old.counts_for(metric)

    def change(self, metric: str) -> float:
        """The new value less the old one."""
        return self.new.value(metric) - self.old.value(metric)


Question = tuple[str, tuple[str, ...] | None]


def question_of(query: EvalQuery) -> Question:
    """What makes two queries of a set the same question: the words, and who asks."""
    return " ".join(query.query.casefold().split()), query.groups


def questions(results: Sequence[QueryResult]) -> int:
    """Different questions among the results of one set."""
    return len({question_of(result.query) for result in results})


def paired(new: Sequence[EvalReport], old: Sequence[EvalReport]) -> list[Pair]:
    """The queries that both judge, by set and id, where they ask the same."""
    before = {(report.name, result.query.id): result for report in old for result in report.judged}
    pairs = (
        _on_equal_terms(report.name, result, before[key])
        for report in new
        for result in report.judged
        if (key := (report.name, result.query.id)) in before
        and question_of(before[key].query) == question_of(result.query)
    )
    return [pair for pair in pairs if pair.new.judged]


def questions_of(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """The pairs by question; most questions have one."""
    found: dict[tuple[str, Question], list[Pair]] = {}
    for pair in pairs:
        found.setdefault((pair.set_name, question_of(pair.new.query)), []).append(pair)
    return list(found.values())


def change_of(metric: str, pairs: Sequence[Pair]) -> PairedDifference | None:
    """The change of a metric over the questions that it counts for; None when there are none."""
    counted = questions_of([pair for pair in pairs if pair.counts_for(metric)])
    if not counted:
        return None
    new = [_mean([pair.new.value(metric) for pair in same]) for same in counted]
    old = [_mean([pair.old.value(metric) for pair in same]) for same in counted]
    return paired_difference(new, old)


def _on_equal_terms(set_name: str, new: QueryResult, old: QueryResult) -> Pair:
    common = new.relevant.keys() & old.relevant.keys()
    return Pair(set_name, _limited(new, common), _limited(old, common))


def _limited(result: QueryResult, common: set[str]) -> QueryResult:
    alone = result.relevant.keys() - common
    if not alone:
        return result
    return replace(
        result,
        relevant={doc_id: grade for doc_id, grade in result.relevant.items() if doc_id in common},
        ranking=tuple(doc_id for doc_id in result.ranking if doc_id not in alone),
        retrieved=tuple(span for span in result.retrieved if span.doc_id not in alone),
        expected=tuple(span for span in result.expected if span.doc_id not in alone),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
