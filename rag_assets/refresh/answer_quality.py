"""How good the answers of a version are: asked for real, measured offline, judged if configured.

index/reports/000042-answers.json    the figures and the worst answers
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rag_assets.answering.base import Answer
from rag_assets.evaluation.answer_metrics import Answered, AnswerReport, Quote
from rag_assets.evaluation.eval_set import EvalQuery
from rag_assets.index.versions import write_atomically
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.records import digest_of
from rag_assets.refresh.eval_sets import eval_sets
from rag_assets.refresh.pipeline import Pipeline


def evaluate_answers(pipeline: Pipeline, version: int) -> AnswerReport:
    """Ask a version the eval queries, with the configured model, and keep the report.

    A query whose answer fails is counted with its reason. Raises: ConfigError when a judge is
    configured that cannot judge these answers.
    """
    config = pipeline.config.evaluation.answers
    judge = None
    if config.judge is not None:
        from rag_assets.refresh.answer_judge import AnswerJudge

        judge = AnswerJudge(config.judge, pipeline.config.llm, pipeline.encoder())
    queries = _sampled(
        [q for one in eval_sets(pipeline, version) for q in one.queries], config.queries
    )
    with KnowledgeBase(pipeline.config) as knowledge_base:
        answers = [_ask(knowledge_base, version, query) for query in queries]
    if judge is not None:
        answers = judge.judge(answers)
    report = AnswerReport(version, pipeline.config.llm.model, tuple(answers))
    write_atomically(_path(pipeline, version), json.dumps(report.as_json(), indent=1).encode())
    return report


def _path(pipeline: Pipeline, version: int) -> Path:
    return pipeline.versions.root / "reports" / f"{version:06d}-answers.json"


def _sampled(queries: Sequence[EvalQuery], count: int) -> list[EvalQuery]:
    """At most so many, chosen by their texts alone."""
    return sorted(queries, key=lambda query: digest_of(query.query))[:count]


def _ask(knowledge_base: KnowledgeBase, version: int, query: EvalQuery) -> Answered:
    try:
        found = knowledge_base.search(query.query, groups=query.groups, version=version)
        reply = knowledge_base.answer(query.query, groups=query.groups, version=version)
    except Exception as error:  # noqa: BLE001 - an answer that fails is one that failed
        return Answered(query, "", error=f"{type(error).__name__}: {error}")
    passages = {hit.chunk_id: hit.text for hit in found}
    answered = Answered(
        query,
        reply.text,
        _quotes(reply, passages),
        reply.dropped_citations,
        reply.abstained,
        tuple(hit.text for hit in found),
        sum(reply.timings.get(name, 0.0) for name in ("search", "answer")),
        reply.cost_usd,
    )
    return replace(answered, error=reply.problem) if reply.degraded else answered


def _quotes(reply: Answer, passages: dict[str, str]) -> tuple[Quote, ...]:
    """The citations, each with all that was retrieved of its chunk.

    Neighbouring passages of a document may have been joined under the first one's id, so the
    quotes are looked for in all that was given.
    """
    everything = "\n".join(passages.values())
    return tuple(
        Quote(c.doc_id, c.quote, passages.get(c.chunk_id, "") + "\n" + everything)
        for c in reply.citations
    )
