"""Which accepted answers are exported for fine-tuning."""

from typing import Annotated, Literal

from pydantic import Field

from rag_assets.config.base import Fraction, Section


class InstructConfig(Section):
    """What the instruct dataset is made of.

    sources: reference answers of the eval sets, accepted candidates among them; answers of the
    service that the one who asked judged good (needs `service.audit.answers: text`). held_out:
    share of the documents that are kept for testing. groups, tenant: whose documents may be in it
    beside everyone's, for a model tells anybody what it has learnt. licences: only documents of
    these; null is any. pii: what becomes of personal data in questions, answers and passages.
    """

    sources: Annotated[list[Literal["eval_sets", "feedback"]], Field(min_length=1)] = [
        "eval_sets",
        "feedback",
    ]
    held_out: Fraction = 0.2
    groups: list[str] = []
    tenant: str | None = None
    licences: list[str] | None = None
    pii: Literal["redact", "leave_out", "keep"] = "redact"
