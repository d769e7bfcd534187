"""Eval sets, and what a candidate must reach on them."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rag_assets.config.base import Fraction, Section

GATE_METRIC = re.compile(
    r"^(recall|hit|mrr|ndcg|precision|span_recall|span_precision|span_iou)@[1-9]\d*$"
)


class BeirSet(Section):
    """An eval set in a BEIR folder."""

    path: str
    format: Literal["beir", "jsonl"] = "jsonl"


class Gate(BaseModel):
    """Absolute floors by metric name, and the rules of the comparison with the live version.

    known_items: the share of changed documents that must be found by their own words.
    expected_documents: the share of what eval queries expect that must not vanish. abstention: the
    share of unanswerable queries that must be left unanswered; answered: the share of the others
    that must not. They are judged on samples, so a rate is refused only when chance does not
    explain it.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    max_regression: Fraction = 0.02
    min_queries: Annotated[int, Field(ge=1)] = 20
    known_items: Fraction = 0.8
    expected_documents: Fraction = 0.95
    abstention: Fraction | None = None
    answered: Fraction | None = None

    @model_validator(mode="after")
    def _floors_are_metrics(self) -> "Gate":
        for name, floor in (self.model_extra or {}).items():
            if not GATE_METRIC.match(name):
                raise ValueError(
                    f"unknown key {name!r}; expected recall@K, hit@K, precision@K, mrr@K, ndcg@K,"
                    " span_recall@K, span_precision@K, span_iou@K, max_regression, min_queries,"
                    " known_items, expected_documents, abstention or answered"
                )
            if isinstance(floor, bool) or not isinstance(floor, int | float) or not 0 <= floor <= 1:
                raise ValueError(f"{name}: expected a number from 0 to 1, found {floor!r}")
        return self

    @property
    def floors(self) -> dict[str, float]:
        """Metric name to the value it must reach."""
        return {name: float(floor) for name, floor in (self.model_extra or {}).items()}


class JudgeConfig(Section):
    """The model that judges answers (extra `eval`): any litellm model name, by ragas metrics.

    queries: how many answers it reads; repeats: how often each, for a judge's noise is part of the
    figure. same_as_answers: a model must not judge its own answers unless this says so.
    """

    model: str
    api_base: str | None = None
    api_key: Annotated[str | None, Field(repr=False)] = None
    queries: Annotated[int, Field(ge=1)] = 20
    repeats: Annotated[int, Field(ge=1, le=10)] = 2
    same_as_answers: bool = False


class AnswersConfig(Section):
    """How answers are judged: how many eval queries are asked, and the model that reads them."""

    queries: Annotated[int, Field(ge=1)] = 100
    judge: JudgeConfig | None = None


class EvaluationConfig(Section):
    """The eval sets and what a candidate must reach on them.

    mlflow: log every judged version as an MLflow run (extra `eval`), into STORAGE/mlflow unless
    $MLFLOW_TRACKING_URI names a server.
    """

    sets: list[str | BeirSet] = []
    gate: Gate = Gate()
    answers: AnswersConfig = AnswersConfig()
    mlflow: bool = False

    @property
    def eval_sets(self) -> list[BeirSet]:
        """The sets with their format spelled out."""
        return [BeirSet(path=s) if isinstance(s, str) else s for s in self.sets]
