"""From chunks to index versions: chunking, embedding, index."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from rag_assets.config.base import Section


class ChunkProfile(Section):
    """How documents of one category are cut. Sizes are tokens of the embedding model.

    auto: at headings where there is markup, else at paragraphs and sentences. sentence: never
    inside a sentence that fits. code: at definitions, by grammar (extra `code`). context: the title
    and the headings above are sent to the model with each chunk, but not shown.
    """

    strategy: Literal["auto", "markdown", "text", "sentence", "code"] = "auto"
    size: Annotated[int, Field(ge=8)] = 256
    overlap: Annotated[int, Field(ge=0)] = 32
    context: bool = False

    @model_validator(mode="after")
    def _overlap_fits(self) -> "ChunkProfile":
        if self.overlap >= self.size:
            raise ValueError(f"overlap ({self.overlap}) must be smaller than size ({self.size})")
        return self


class ChunkingConfig(Section):
    """The default profile and those of single categories."""

    default: ChunkProfile = ChunkProfile()
    categories: dict[str, dict[str, str | int | bool]] = {}

    @field_validator("categories")
    @classmethod
    def _each_is_a_profile(cls, given: dict[str, dict[str, str | int | bool]]) -> Any:
        for overrides in given.values():
            ChunkProfile.model_validate(overrides)
        return given

    def profile(self, category: str | None) -> ChunkProfile:
        """The profile of a category: the default with the category's own keys laid over it."""
        overrides = self.categories.get(category or "", {})
        return ChunkProfile.model_validate({**self.default.model_dump(), **overrides})


class EmbeddingConfig(Section):
    """Which model turns text into vectors, and how it is run.

    `precision` and `device` are for local models; what comes after `ray_address` is for services
    reached through litellm, where the limits are per process and `budget_usd` is per refresh.
    """

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    precision: Literal["int8", "fp32"] = "int8"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    engine: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    api_base: str | None = None
    api_key: Annotated[str | None, Field(repr=False)] = None
    dimensions: Annotated[int | None, Field(ge=1)] = None
    requests_per_minute: Annotated[int | None, Field(ge=1)] = None
    tokens_per_minute: Annotated[int | None, Field(ge=1)] = None
    usd_per_million_tokens: Annotated[float | None, Field(ge=0)] = None
    budget_usd: Annotated[float | None, Field(ge=0)] = None

    @model_validator(mode="after")
    def _address_has_its_engine(self) -> "EmbeddingConfig":
        if self.ray_address is not None and self.engine != "ray":
            raise ValueError("ray_address needs engine: ray")
        return self


def _chroma_home(value: str) -> str:
    if value in {"embedded", "cloud"} or value.startswith(("http://", "https://")):
        return value
    raise ValueError("expected 'embedded', 'cloud' or http://host:port")


class IndexConfig(Section):
    """Where and how index versions live."""

    chroma: Annotated[str, AfterValidator(_chroma_home)] = "embedded"
    keep_versions: Annotated[int, Field(ge=2)] = 3
    space: Literal["cosine", "l2", "ip"] = "cosine"
