"""A share of the questions that another version or another model answers."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rag_assets.config.base import Fraction, Section


class CanaryConfig(Section):
    """What some are answered by, beside the live version and the configured model.

    share: of the conversations, or of the principals. by: what keeps its arm. version: `candidate`
    is the newest version that passed its gate and was not promoted, and makes promotion wait for
    `rag-assets promote`; `previous` is the one that was live before; or a number. model: any
    litellm model name, with its api_base and api_key.
    """

    share: Fraction
    by: Literal["conversation", "principal"] = "conversation"
    version: Literal["candidate", "previous"] | Annotated[int, Field(ge=1)] | None = None
    model: str | None = None
    api_base: str | None = None
    api_key: Annotated[str | None, Field(repr=False)] = None

    @model_validator(mode="after")
    def _something_differs(self) -> "CanaryConfig":
        if self.version is None and self.model is None:
            raise ValueError("expected version or model, or both: what the canary is")
        return self

    @property
    def holds(self) -> bool:
        """Whether a candidate that passed waits to be promoted by hand."""
        return self.version == "candidate"
