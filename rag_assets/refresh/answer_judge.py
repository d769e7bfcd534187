"""A model that judges answers, by the metrics of ragas through litellm (extra `eval`).

A judgement that fails is NaN and counted as failed; it never becomes a score.
"""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rag_assets.answering.litellm_setup import load_litellm
from rag_assets.config import JudgeConfig, LlmConfig
from rag_assets.embedding.base import Encoder
from rag_assets.errors import ConfigError
from rag_assets.evaluation.answer_metrics import Answered

log = logging.getLogger(__name__)

_BEST_RUBRIC = 5.0  # a rubric's scores are 1 to 5


class AnswerJudge:
    """Judges answers: faithfulness, answer relevancy, context precision and recall, a rubric."""

    def __init__(self, config: JudgeConfig, answers: LlmConfig, encoder: Encoder) -> None:
        """Raises: ConfigError when the judge wrote the answers, or ragas is not installed."""
        if config.model == answers.model and not config.same_as_answers:
            raise ConfigError(
                f"evaluation.answers.judge.model: {config.model} wrote the answers it would judge;"
                " name another model, or set same_as_answers: true"
            )
        self._config = config
        self._metrics = _metrics(config, encoder)

    def judge(self, answers: Sequence[Answered]) -> list[Answered]:
        """The answers, the first of them (answered, with a context) judged; means over repeats."""
        chosen = [
            place
            for place, answer in enumerate(answers)
            if answer.contexts and not answer.abstained and not answer.error
        ][: self._config.queries]
        judged = asyncio.run(self._all([answers[place] for place in chosen]))
        done = list(answers)
        for place, values in zip(chosen, judged, strict=True):
            done[place] = replace(answers[place], judged=values)
        return done

    async def _all(self, answers: Sequence[Answered]) -> list[dict[str, float]]:
        return [await self._one(answer) for answer in answers]

    async def _one(self, answer: Answered) -> dict[str, float]:
        """Each metric's mean over the repeats; NaN when any of them failed."""
        found = {}
        for name, metric in self._metrics.items():
            arguments = _arguments(name, answer)
            if arguments is not None:
                scores = [
                    await _score(metric, name, arguments) for _ in range(self._config.repeats)
                ]
                found[name] = float(np.mean(scores))
        return found


def _metrics(config: JudgeConfig, encoder: Encoder) -> dict[str, Any]:
    os.environ.setdefault("RAGAS_DO_NOT_TRACK", "true")
    litellm = load_litellm()
    try:
        from ragas.embeddings.base import BaseRagasEmbedding
        from ragas.llms import llm_factory
        from ragas.metrics.collections import (
            AnswerRelevancy,
            ContextPrecision,
            ContextRecall,
            DomainSpecificRubrics,
            Faithfulness,
        )
    except ImportError as error:
        raise ConfigError(
            f"evaluation.answers.judge: ragas cannot be imported ({error}); install"
            " rag-assets[eval]"
        ) from error

    class Embedding(BaseRagasEmbedding):
        """The knowledge base's own model."""

        def embed_text(self, text: str, **kwargs: Any) -> list[float]:
            return [float(value) for value in encoder.encode_query(text)]

        async def aembed_text(self, text: str, **kwargs: Any) -> list[float]:
            return await asyncio.to_thread(self.embed_text, text)

    options: dict[str, Any] = {"api_base": config.api_base, "api_key": config.api_key}
    llm = llm_factory(
        config.model,
        provider="litellm",
        client=litellm.acompletion,
        num_retries=0,
        **{name: value for name, value in options.items() if value is not None},
    )
    return {
        "faithfulness": Faithfulness(llm=llm),
        "answer_relevancy": AnswerRelevancy(llm=llm, embeddings=Embedding()),
        "context_precision": ContextPrecision(llm=llm),
        "context_recall": ContextRecall(llm=llm),
        "rubric": DomainSpecificRubrics(llm=llm),
    }


def _arguments(name: str, answer: Answered) -> Mapping[str, Any] | None:
    """What a metric wants to know; None where the query has no reference answer to give it."""
    question, contexts = {"user_input": answer.query.query}, list(answer.contexts)
    reference = answer.query.answer
    if name == "faithfulness":
        return question | {"response": answer.text, "retrieved_contexts": contexts}
    if name == "answer_relevancy":
        return question | {"response": answer.text}
    if name == "rubric":
        return question | {"response": answer.text, "retrieved_contexts": contexts}
    if reference is None:
        return None
    return question | {"reference": reference, "retrieved_contexts": contexts}


async def _score(metric: Any, name: str, arguments: Mapping[str, Any]) -> float:
    try:
        score = float((await metric.ascore(**arguments)).value)
    except Exception as error:  # noqa: BLE001 - whatever fails is a judgement that failed
        log.warning("%s: no judgement (%s: %s)", name, type(error).__name__, error)
        return float("nan")
    return (score - 1) / (_BEST_RUBRIC - 1) if name == "rubric" else score
