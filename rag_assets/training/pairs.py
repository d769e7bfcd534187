"""The contract of this room: an accepted question and answer, and where accepted ones come from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rag_assets.evaluation.eval_set import EvalSet, half_of
from rag_assets.training.feedback import judged_answers

Origin = Literal["eval_sets", "feedback"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with an answer that a person wrote or accepted.

    documents: doc_ids that a person named. quotes: texts of them that hold the answer. cited: of an
    answer that the service gave, number in the text to (chunk_id, quote). for_testing: it is asked
    of the held-out half of an eval set, and must not be trained on.
    """

    origin: Origin
    id: str
    question: str
    answer: str
    documents: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    cited: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    accepted_at: str | None = None
    for_testing: bool = False


def accepted_pairs(
    origins: Sequence[Origin],
    eval_sets: Sequence[EvalSet],
    audit_log: Path,
    judged: Path,
    knowledge_base: str,
) -> list[Pair]:
    """Every pair, each question once; what an eval set asks comes before what people asked.

    audit_log: its directory. judged: a file that remembers what was read of it.
    """
    testing = {
        _same(query.query)
        for one in eval_sets
        for query in one.queries
        if half_of(query) == "held_out"
    }
    every: list[Pair] = []
    if "eval_sets" in origins:
        every += _of_eval_sets(eval_sets, testing)
    if "feedback" in origins:
        every += _of_feedback(audit_log, judged, knowledge_base, testing)
    first: dict[str, Pair] = {}
    for pair in every:
        first.setdefault(_same(pair.question), pair)
    return list(first.values())


def _of_eval_sets(eval_sets: Sequence[EvalSet], testing: set[str]) -> Iterator[Pair]:
    for one in eval_sets:
        for query in one.queries:
            if query.answer and query.answerable:
                yield Pair(
                    "eval_sets",
                    f"{one.name}/{query.id}",
                    query.query,
                    query.answer,
                    tuple(query.relevant),
                    query.passages,
                    accepted_at=query.origin.get("accepted_at"),
                    for_testing=_same(query.query) in testing,
                )


def _of_feedback(
    audit_log: Path, judged: Path, knowledge_base: str, testing: set[str]
) -> Iterator[Pair]:
    for answer in judged_answers(audit_log, judged):
        if answer.knowledge_base == knowledge_base:
            yield Pair(
                "feedback",
                answer.request_id,
                answer.question,
                answer.text,
                cited={int(number): (one[0], one[1]) for number, one in answer.cited.items()},
                accepted_at=answer.judged_at,
                for_testing=_same(answer.question) in testing,
            )


def _same(question: str) -> str:
    return " ".join(question.casefold().split())
