"""Answers measured without any model: what they cite, whether it stands there, and how close they
come to a reference."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from rag_assets.evaluation.eval_set import EvalQuery
from rag_assets.evaluation.significance import bootstrap_interval

_WORD = re.compile(r"\w+")
_MARK = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class Quote:
    """What an answer cites. passage: the text of the cited chunk as the version holds it."""

    doc_id: str
    quote: str
    passage: str


@dataclass(frozen=True, slots=True)
class Answered:
    """One query and its answer.

    dropped: numbers the model cited that did not hold. contexts: passages it was given. judged:
    what a judging model said, by metric; NaN where it failed.
    """

    query: EvalQuery
    text: str
    quotes: tuple[Quote, ...] = ()
    dropped: int = 0
    abstained: bool = False
    contexts: tuple[str, ...] = ()
    milliseconds: float = 0.0
    cost_usd: float = 0.0
    error: str | None = None
    judged: Mapping[str, float] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, float]:
        """Every metric that says something of this answer, between 0 and 1, higher is better.

        abstention: nothing was said where nothing is known. answered: something was said where
        something is. citation_validity: it cites, and every number it cites holds. quote_support:
        quotes that stand in the passage they cite. citation_recall: an expected document is cited.
        rouge_l: likeness to the reference answer; reference_recall: its words that were said.
        """
        if not self.query.answerable:
            return {"abstention": float(self.abstained and not self.error)}
        if self.error or self.abstained:
            return {"answered": 0.0}
        found = {"answered": 1.0}
        cites = bool(self.quotes) and self.dropped == 0
        found["citation_validity"] = float(cites)
        stands = [_letters(q.quote) in _letters(q.passage) for q in self.quotes]
        found["quote_support"] = float(np.mean(stands)) if stands else 0.0
        found["citation_recall"] = float(
            any(quote.doc_id in self.query.relevant for quote in self.quotes)
        )
        if self.query.answer:
            said, wanted = _words(self.text), _words(self.query.answer)
            found["rouge_l"], found["reference_recall"] = rouge_l(said, wanted)
        return found | dict(self.judged)


@dataclass(frozen=True)
class AnswerReport:
    """The answers of one version to the queries of its eval sets."""

    index_version: int
    model: str
    answers: tuple[Answered, ...]

    @cached_property
    def metrics(self) -> dict[str, dict[str, float | int]]:
        """By metric: mean, 95 % interval, how many answers, and how many the judge failed on.

        A failed judgement is no score: it is counted, and the mean is over the others.
        """
        names = dict.fromkeys(name for answer in self.answers for name in answer.values)
        return {name: self._metric(name) for name in names}

    def _metric(self, name: str) -> dict[str, float | int]:
        every = [a.values[name] for a in self.answers if name in a.values]
        values = np.array([value for value in every if not np.isnan(value)])
        failed = len(every) - len(values)
        if not len(values):
            return {"of": 0, "failed": failed}
        [[low, high]] = bootstrap_interval(values[:, None])
        return {
            "mean": float(values.mean()),
            "low": float(low),
            "high": float(high),
            "of": len(values),
            "failed": failed,
        }

    def worst(self, count: int = 10) -> list[Answered]:
        """The answers that did worst: failed ones first, then by the mean of their metrics."""

        def goodness(answer: Answered) -> tuple[bool, float]:
            values = [value for value in answer.values.values() if not np.isnan(value)]
            return answer.error is None, float(np.mean(values))

        return sorted(self.answers, key=goodness)[:count]

    def as_json(self) -> dict[str, object]:
        """The report as plain JSON types."""
        return {
            "index_version": self.index_version,
            "model": self.model,
            "queries": len(self.answers),
            "errors": sum(answer.error is not None for answer in self.answers),
            "cost_usd": sum(answer.cost_usd for answer in self.answers),
            "metrics": self.metrics,
            "worst": [
                {
                    "id": answer.query.id,
                    "query": answer.query.query,
                    "answer": answer.text,
                    "reference": answer.query.answer,
                    "expected": list(answer.query.relevant),
                    "cited": [quote.doc_id for quote in answer.quotes],
                    "error": answer.error,
                }
                for answer in self.worst()
            ],
        }


def rouge_l(said: Sequence[str], wanted: Sequence[str]) -> tuple[float, float]:
    """(F1, recall) of the longest common subsequence of words.

    Source: Lin 2004, ROUGE, with beta = 1.
    """
    common = _common(said, wanted)
    if not common:
        return 0.0, 0.0
    precision, recall = common / len(said), common / len(wanted)
    return 2 * precision * recall / (precision + recall), recall


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for place, candidate in enumerate(other, start=1):
            kept = row[place]
            row[place] = before + 1 if word == candidate else max(row[place], row[place - 1])
            before = kept
    return row[-1]


def _words(text: str) -> list[str]:
    return _WORD.findall(_MARK.sub(" ", text).casefold())


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())
