"""The model that writes answers, and the HTTP service."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from rag_assets.config.base import Section


class LlmConfig(Section):
    """The model that writes answers: `extractive` or any litellm model name.

    fallbacks: models tried in order when the one before failed. timeout: seconds for a whole
    answer. first_token_timeout: seconds until a streamed answer begins. prompts: a folder with an
    `answer.txt` or `condense.txt` of your own. unproven: sentences at which no citation holds are
    shown, and the answer needs review; or dropped, and a stream shows its text when it is whole.
    answer_share: of the answers that would be right, how many a low confidence must not withhold;
    less of it leaves more questions alone that nothing answers, and 1 withholds none.
    """

    model: str = "extractive"
    fallbacks: list[str] = []
    api_base: str | None = None
    api_key: Annotated[str | None, Field(repr=False)] = None
    max_context_tokens: Annotated[int, Field(ge=256)] = 4096
    timeout: Annotated[float, Field(gt=0)] = 60.0
    first_token_timeout: Annotated[float, Field(gt=0)] = 20.0
    prompts: str | None = None
    unproven: Literal["show", "drop"] = "show"
    answer_share: Annotated[float, Field(ge=0.5, le=1)] = 0.95


def _one_family(algorithms: list[str]) -> list[str]:
    """A public key must never be accepted as a shared secret, so both are never allowed at once."""
    known = {f"{kind}{bits}" for kind in ("HS", "RS", "PS", "ES") for bits in (256, 384, 512)}
    unknown = sorted(set(algorithms) - known - {"EdDSA"})
    if unknown or not algorithms:
        raise ValueError(f"expected names such as RS256 or ES256, found {unknown or 'none'}")
    if len({name.startswith("HS") for name in algorithms}) > 1:
        raise ValueError("HS… (a shared secret) and public key algorithms cannot be mixed")
    return algorithms


class JwtConfig(Section):
    """How bearer tokens of an identity provider are checked, and who they name.

    key: the PEM of the public key, or for HS… the shared secret; jwks_url: where the provider
    publishes its keys, instead. tenant_claim: required of every token when it is set. write_scope:
    the scope that may push and delete documents.
    """

    issuer: Annotated[str, Field(min_length=1)]
    audience: Annotated[str, Field(min_length=1)]
    algorithms: Annotated[list[str], AfterValidator(_one_family)] = ["RS256"]
    key: Annotated[str | None, Field(repr=False)] = None
    jwks_url: Annotated[str, Field(pattern="^https?://")] | None = None
    groups_claim: str = "groups"
    tenant_claim: str | None = None
    write_scope: str = "documents:write"

    @model_validator(mode="after")
    def _one_key(self) -> "JwtConfig":
        if bool(self.key) == bool(self.jwks_url):
            raise ValueError("expected exactly one of key and jwks_url")
        if self.jwks_url and self.algorithms[0].startswith("HS"):
            raise ValueError("jwks_url publishes public keys, which HS… algorithms cannot use")
        return self


class LimitsConfig(Section):
    """What one principal may use; null is unlimited, and a key may have figures of its own.

    storage: `local` counts in STORAGE/service, shared by all workers of one machine; redis://…
    counts for several machines. seconds: how long one request may take. usd_per_day: what its
    answers may cost.
    """

    storage: Annotated[str, Field(pattern="^(local$|rediss?://)")] = "local"
    requests_per_minute: Annotated[int, Field(ge=1)] | None = 600
    requests_per_day: Annotated[int, Field(ge=1)] | None = None
    usd_per_day: Annotated[float, Field(gt=0)] | None = None
    request_bytes: Annotated[int, Field(ge=1024)] = 1_000_000
    document_bytes: Annotated[int, Field(ge=1024)] = 32_000_000
    seconds: Annotated[float, Field(gt=0)] = 120.0


class AuditConfig(Section):
    """What the audit log keeps. questions: their text, or only a hash of it.

    answers: their text, which the instruct dataset needs of those that were judged good; or only
    what they cite. key: makes the chain of hashes one that cannot be forged without it.
    """

    questions: Literal["text", "hash"] = "text"
    answers: Literal["text", "citations"] = "citations"
    keep_days: Annotated[int, Field(ge=1)] = 90
    key: Annotated[str | None, Field(repr=False)] = None


class CacheConfig(Section):
    """The cache of exact repeats of a question; `entries: 0` turns it off."""

    entries: Annotated[int, Field(ge=0)] = 1000
    seconds: Annotated[float, Field(gt=0)] = 300.0


class ServiceConfig(Section):
    """The HTTP service. cors: origins whose pages may call it; none by default."""

    jwt: JwtConfig | None = None
    limits: LimitsConfig = LimitsConfig()
    audit: AuditConfig = AuditConfig()
    cache: CacheConfig = CacheConfig()
    cors: list[Annotated[str, Field(pattern="^https?://[^/*]+$")]] = []
