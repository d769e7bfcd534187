"""Bodies of requests and responses, as /docs shows them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from rag_assets.config.retrieval import Weight, Weights
from rag_assets.errors import BadRequest
from rag_assets.retrieval.base import MAX_K, Mode
from rag_assets.retrieval.filters import document_filter

MAX_QUESTION = 8000  # characters
MAX_GROUPS = 100
MAX_TURN = 32_000  # characters
MAX_TURNS = 100

_SCALAR = {"type": ["string", "number", "boolean"]}
_NUMBER = {"type": "number"}
_LIST = {
    "anyOf": [
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        {"type": "array", "items": {"type": "integer"}, "minItems": 1},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 1},
    ]
}


def _single(schemas: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Objects with exactly one key, each of its own schema."""
    return [
        {
            "type": "object",
            "properties": {name: schema},
            "required": [name],
            "additionalProperties": False,
        }
        for name, schema in schemas.items()
    ]


_OPERATORS = _single(
    dict.fromkeys(("$eq", "$ne", "$contains", "$not_contains"), _SCALAR)
    | dict.fromkeys(("$gt", "$gte", "$lt", "$lte"), _NUMBER)
    | dict.fromkeys(("$in", "$nin"), _LIST)
)
_CONDITION = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "propertyNames": {"pattern": r"^(?!\$)"},
    "additionalProperties": {"anyOf": [_SCALAR, *_OPERATORS]},
}
_CONDITIONS = {"type": "array", "items": _CONDITION, "minItems": 2}

WHERE_SCHEMA = {
    "description": (
        "A filter over document metadata in Chroma's language; $and and $or may be nested, and"
        " documents without the key match $ne, $nin and $not_contains only."
    ),
    "anyOf": [_CONDITION, *_single({"$and": _CONDITIONS, "$or": _CONDITIONS})],
    "examples": [{"team": "hr"}, {"$and": [{"year": {"$gte": 2025}}, {"lang": "en"}]}],
}


def _usable(where: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(where, ensure_ascii=False).encode()
        document_filter(where, None, datetime.now(UTC))
    except UnicodeEncodeError:
        raise ValueError("text that is not valid Unicode") from None
    except BadRequest as error:
        raise ValueError(str(error).removeprefix("where: ")) from None
    return where


Where = Annotated[dict[str, Any], AfterValidator(_usable), WithJsonSchema(WHERE_SCHEMA)]
Text = Annotated[str, Field(min_length=1, max_length=MAX_QUESTION, pattern=r"\S")]
Signal = Annotated[str, Field(pattern=f"^({'|'.join(Weights.model_fields)})$")]
SignalWeights = Annotated[
    dict[Signal, Weight],
    WithJsonSchema(
        {
            "type": "object",
            "description": "Of single signals, over those configured.",
            "properties": {
                name: {"type": "number", "minimum": -10, "maximum": 10}
                for name in Weights.model_fields
            },
            "additionalProperties": False,
        }
    ),
]
Group = Annotated[str, Field(min_length=1, max_length=200)]


def _whole(value: object) -> object:
    """To JSON 5.0 is a whole number like 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)  # after Field, so that its bounds stay in the OpenAPI document


class Body(BaseModel):
    """A request body: unknown fields are refused, values are not coerced from other types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Options(Body):
    """What searching and answering have in common."""

    k: Annotated[int, Field(ge=1, le=MAX_K, description="How many passages."), WHOLE] | None = None
    where: Where | None = None
    groups: (
        Annotated[
            list[Group],
            Field(
                max_length=MAX_GROUPS,
                description="See only what these groups may read; never more than the key may.",
            ),
        ]
        | None
    ) = None
    version: (
        Annotated[int, Field(ge=1, le=2**31, description="Instead of the live version."), WHOLE]
        | None
    ) = None
    mode: Mode | None = None
    weights: SignalWeights | None = None
    category: (
        Annotated[str, Field(max_length=200, description="Documents of it are preferred.")] | None
    ) = None
    knowledge_base: Annotated[str, Field(max_length=200)] | None = None


class SearchBody(Options):
    """POST /v1/search."""

    query: Text
    explain: Annotated[bool, Field(description="Also the parts of each score.")] = False


class TurnBody(Body):
    """One message of the conversation so far."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Field(max_length=MAX_TURN)]


class AnswerBody(Options):
    """POST /v1/answer."""

    question: Annotated[Text, Field(validation_alias=AliasChoices("question", "query"))]
    history: Annotated[
        list[TurnBody],
        Field(max_length=MAX_TURNS, description="For a follow-up question, oldest first."),
    ] = []
    explain: Annotated[bool, Field(description="Also the passages used, with scores.")] = False
    stream: Annotated[bool, Field(description="Server-sent events instead of one object.")] = False


class FeedbackBody(Body):
    """POST /v1/feedback."""

    request_id: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Of the answer judged.")
    ]
    rating: Literal["up", "down"]
    comment: Annotated[str, Field(max_length=4000)] | None = None
    knowledge_base: Annotated[str, Field(max_length=200)] | None = None


class DocumentBody(Body):
    """A document pushed as JSON; the source's configuration holds where a field is left out."""

    text: Annotated[str, Field(min_length=1, pattern=r"\S")]
    title: Annotated[str, Field(max_length=500)] | None = None
    uri: Annotated[str, Field(max_length=2000, pattern=r"^[a-zA-Z][a-zA-Z0-9+.-]*:\S+$")] | None = (
        None
    )
    metadata: dict[
        Annotated[str, Field(min_length=1, max_length=200)],
        Annotated[str, Field(max_length=1000)]
        | Annotated[int, Field(ge=-(2**63), lt=2**63)]
        | Annotated[float, Field(allow_inf_nan=False)]
        | bool,
    ] = {}
    acl: Annotated[list[Group], Field(max_length=MAX_GROUPS)] | None = None
    name: (
        Annotated[str, Field(max_length=200, description="A file name to tell the type by.")] | None
    ) = None


EVENT_SCHEMA = {
    "type": "object",
    "description": "One server-sent event; its data is JSON.",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
}

# -- responses -----------------------------------------------------------------------------------


class HitOut(BaseModel):
    """One passage; start and end are characters of the document's text."""

    rank: int
    score: float
    uri: str
    doc_id: str
    chunk_id: str
    source: str
    title: str
    heading: list[str]
    start: int
    end: int
    page: int | None = None
    text: str
    metadata: dict[str, Any]
    signals: dict[str, float] | None = None
    parts: dict[str, float] | None = None


class SearchOut(BaseModel):
    """Ranked passages of exactly one index version."""

    request_id: str
    knowledge_base: str
    index_version: int
    milliseconds: float
    hits: list[HitOut]


class CitationOut(BaseModel):
    """What stands under [number] in the text, with the words quoted from it."""

    number: int
    uri: str
    doc_id: str
    chunk_id: str
    title: str
    heading: list[str]
    start: int
    end: int
    page: int | None = None
    quote: str


class UsedPassageOut(BaseModel):
    """A passage that the model was given, and how it was found."""

    number: int
    doc_id: str
    chunk_id: str
    rank: int
    score: float
    signals: dict[str, float]
    parts: dict[str, float]


class UsageOut(BaseModel):
    """Tokens as the model counts them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerOut(BaseModel):
    """An answer with what one needs to judge it."""

    request_id: str
    knowledge_base: str
    cached: bool
    text: str
    citations: list[CitationOut]
    confidence: float
    calibrated: bool
    needs_review: bool
    abstained: bool
    degraded: bool
    problem: str | None
    dropped_citations: int
    unproven_claims: int
    removed_links: int
    standalone_question: str | None
    passages: list[UsedPassageOut]
    signals: dict[str, float]
    index_version: int
    model: str
    prompt_version: str
    usage: UsageOut
    cost_usd: float
    timings: dict[str, float]


class CompletionOut(BaseModel):
    """A chat completion of the OpenAI API, with everything else under `rag`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: UsageOut
    rag: dict[str, Any]


class ModelOut(BaseModel):
    """A knowledge base as a model of the OpenAI API; problem: why it cannot answer now."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    index_version: int | None
    problem: str | None = None


class ModelsOut(BaseModel):
    """Every knowledge base."""

    object: Literal["list"]
    data: list[ModelOut]


class CheckOut(BaseModel):
    """A blocking check that a version had to pass."""

    name: str
    passed: bool
    summary: str
    value: float | None
    floor: float | None


class VersionOut(BaseModel):
    """One kept index version."""

    version: int
    state: str
    created_at: str
    parent: int | None
    documents: int
    chunks: int
    embedding_model: str
    metrics: dict[str, Any]
    checks: list[CheckOut]


class VersionsOut(BaseModel):
    """The versions of a knowledge base, newest first."""

    knowledge_base: str
    live_version: int | None
    confidence: Annotated[
        dict[str, float | None] | None,
        Field(description="Figures of what confidence was learnt from, on held-out halves."),
    ]
    versions: list[VersionOut]


class PassageOut(BaseModel):
    """A passage of a document, by its place in the document's text."""

    chunk_id: str
    start: int
    end: int
    heading: list[str]


class DocumentOut(BaseModel):
    """A document as an index version holds it.

    text: the passages at their places; what belongs to none is blank.
    """

    knowledge_base: str
    index_version: int
    doc_id: str
    uri: str
    title: str
    metadata: dict[str, Any]
    text: str
    passages: list[PassageOut]


class AcceptedOut(BaseModel):
    """A push or deletion was stored and takes part in the next refresh."""

    request_id: str
    doc_id: str
    status: Literal["accepted"]
    sha256: str | None = None


class FeedbackOut(BaseModel):
    """The judgement was written to the audit log."""

    request_id: str
    status: Literal["recorded"]


class ReadyOut(BaseModel):
    """Whether every knowledge base can answer; if not, why."""

    ready: bool
    live_versions: dict[str, int]
    problems: dict[str, str]


class HealthOut(BaseModel):
    """The process is up."""

    status: Literal["ok"]


class ErrorDetail(BaseModel):
    """What went wrong, in words and as a code."""

    type: str
    message: str
    param: str | None
    code: str


class ErrorOut(BaseModel):
    """Every refusal."""

    error: ErrorDetail
