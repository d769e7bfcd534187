"""knowledge_base.yaml: its schema, and reading it with every mistake reported at once."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from rag_assets.errors import ConfigError

GATE_METRIC = re.compile(r"^(recall|hit|mrr|ndcg|precision)@[1-9]\d*$")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)

Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the file: unknown keys are refused, values are not coerced from other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


PiiEntity = Literal[
    "email", "phone", "credit_card", "iban", "ip_address", "national_id", "crypto_wallet"
]


class PiiConfig(Section):
    """What becomes of personal data in a source's documents; secrets are always flagged.

    off: nothing. flag: counted in the metadata. redact: replaced before anything is stored beyond
    the raw bytes. block: a document that has any is quarantined.
    entities: what counts; all kinds when empty. region: where phone numbers without a country code
    are from (extra `pii`), such as DE.
    """

    mode: Literal["off", "flag", "redact", "block"] = "off"
    entities: list[PiiEntity] = []
    region: Annotated[str, Field(pattern="^[A-Z]{2}$")] | None = None


def _pii_in_short(given: Any) -> Any:
    """`pii: redact` for `pii: {mode: redact}`; YAML reads a bare `off` as false."""
    if given is False:
        return {"mode": "off"}
    return {"mode": given} if isinstance(given, str) else given


class SourceConfig(Section):
    """What every source has, whatever its type.

    repeated_lines: lines at the edges of, and menus within, more than this share of the source's
    documents are left out of all but the first; 1 keeps everything.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    category: str | None = None
    metadata: dict[str, str | int | float | bool] = {}
    acl: list[str] = ["everyone"]
    buckets: Annotated[int, Field(ge=1, le=256)] = 16
    delete_guard: Fraction = 0.2
    pii: Annotated[PiiConfig, BeforeValidator(_pii_in_short)] = PiiConfig()
    repeated_lines: Fraction = 0.6

    @property
    def partitions(self) -> list[str]:
        """The Dagster partition keys of this source, in order."""
        return [f"{self.name}:{bucket:02d}" for bucket in range(self.buckets)]


class FilesConfig(SourceConfig):
    """Files under a directory or an fsspec URL."""

    type: Literal["files"]
    path: str
    include: list[str] = ["**/*"]
    exclude: list[str] = []
    max_mib: Annotated[int, Field(ge=1, le=4096)] = 256  # a larger file is quarantined unread


class RecordsConfig(SourceConfig):
    """One document a row of a jsonl, csv or parquet file."""

    type: Literal["records"]
    path: str
    id: str = "id"
    title: str | None = None
    text: str = "text"


class InboxConfig(SourceConfig):
    """Documents pushed through the HTTP service, kept in STORAGE/inbox/NAME until deleted.

    A caller deletes one by one and on purpose, so the guard is off unless it is set.
    """

    type: Literal["inbox"]
    path: str = ""
    delete_guard: Fraction = 1.0


class SqlConfig(SourceConfig):
    """One document a row of a query, from any database that SQLAlchemy has a driver for.

    text, title, uri: a column, or a template such as "{subject}: {body}". updated_at: a column that
    changes with the row; without one every text is read to see what changed. metadata_columns:
    columns that become metadata.
    """

    type: Literal["sql"]
    url: Annotated[str, Field(min_length=1)]
    query: Annotated[str, Field(min_length=1)]
    id: str = "id"
    text: str = "text"
    title: str | None = None
    uri: str | None = None
    updated_at: str | None = None
    metadata_columns: list[str] = []


class HttpSettings(Section):
    """How a source talks to web servers.

    interval: seconds between two requests to one host. allow_private: whether addresses of private
    networks may be asked; names are resolved once and the address is checked, redirects too.
    """

    interval: Annotated[float, Field(ge=0)] = 0.0
    timeout: Annotated[float, Field(gt=0)] = 20.0
    allow_private: bool = False
    headers: dict[str, str] = {}


class WebConfig(SourceConfig):
    """Pages of a site, from its sitemaps or by following links within `prefix`.

    start: pages or sitemaps. prefix: what addresses must begin with; the folder of the first start
    page when empty. path: where pages are kept between scans; STORAGE/web/NAME when empty.
    """

    type: Literal["web"]
    start: Annotated[list[str], Field(min_length=1)]
    prefix: str = ""
    max_pages: Annotated[int, Field(ge=1)] = 2000
    http: HttpSettings = HttpSettings(interval=0.5)
    path: str = ""


class FeedConfig(SourceConfig):
    """Articles of RSS and Atom feeds. They stay when they roll off the feed.

    articles: fetch the page that an item links to, instead of what the feed holds of it.
    path: where articles are kept; STORAGE/feed/NAME when empty.
    """

    type: Literal["feed"]
    feeds: Annotated[list[str], Field(min_length=1)]
    articles: bool = True
    http: HttpSettings = HttpSettings(interval=0.5)
    path: str = ""


class Pagination(Section):
    """How a REST API gives its next page.

    link_header: `Link: <…>; rel="next"`. next_url: the address lies at `path` in the answer.
    cursor: the value at `path` goes into the parameter `param`. page, offset: `param` counts from
    `first`, by 1 or by the number of records. more: path of a flag that is false on the last page.
    """

    kind: Literal["none", "link_header", "next_url", "cursor", "page", "offset"] = "none"
    path: str = ""
    param: str = ""
    first: int = 1
    more: str = ""

    @model_validator(mode="after")
    def _complete(self) -> "Pagination":
        if self.kind in {"next_url", "cursor"} and not self.path:
            raise ValueError(f"kind {self.kind!r} needs path")
        if self.kind in {"cursor", "page", "offset"} and not self.param:
            raise ValueError(f"kind {self.kind!r} needs param")
        return self


class RestConfig(SourceConfig):
    """Records of any REST API that answers in JSON.

    records: where the list lies in an answer, such as data.items; the answer itself when empty.
    id, updated_at: paths in a record. text, title, uri: a path, or a template such as
    "{subject}: {user.name}". deleted: field → values that mark a record as deleted.
    """

    type: Literal["rest"]
    url: Annotated[str, Field(pattern="^https?://")]
    params: dict[str, str | int] = {}
    records: str = ""
    id: str = "id"
    text: str = "text"
    title: str | None = None
    uri: str | None = None
    updated_at: str | None = None
    deleted: dict[str, list[str | int | bool]] = {}
    metadata_fields: list[str] = []
    pagination: Pagination = Pagination()
    http: HttpSettings = HttpSettings()


class NotionConfig(SourceConfig):
    """The pages that a Notion integration can see."""

    type: Literal["notion"]
    token: Annotated[str, Field(min_length=1)]
    url: Annotated[str, Field(pattern="^https?://")] = "https://api.notion.com"
    http: HttpSettings = HttpSettings(interval=0.34)  # three requests a second are allowed


AnySource = Annotated[
    FilesConfig
    | RecordsConfig
    | InboxConfig
    | SqlConfig
    | WebConfig
    | FeedConfig
    | RestConfig
    | NotionConfig,
    Field(discriminator="type"),
]


class ChunkProfile(Section):
    """How documents of one category are cut. Sizes are tokens of the embedding model."""

    strategy: Literal["auto", "markdown", "text"] = "auto"
    size: Annotated[int, Field(ge=8)] = 256
    overlap: Annotated[int, Field(ge=0)] = 32

    @model_validator(mode="after")
    def _overlap_fits(self) -> "ChunkProfile":
        if self.overlap >= self.size:
            raise ValueError(f"overlap ({self.overlap}) must be smaller than size ({self.size})")
        return self


class ChunkingConfig(Section):
    """The default profile and those of single categories."""

    default: ChunkProfile = ChunkProfile()
    categories: dict[str, dict[str, str | int]] = {}

    @field_validator("categories")
    @classmethod
    def _each_is_a_profile(cls, given: dict[str, dict[str, str | int]]) -> Any:
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


class RetrievalConfig(Section):
    """The defaults of a search."""

    mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    k: Annotated[int, Field(ge=1, le=100)] = 5


class BeirSet(Section):
    """An eval set in a BEIR folder."""

    path: str
    format: Literal["beir", "jsonl"] = "jsonl"


class Gate(BaseModel):
    """Absolute floors by metric name, and the rules of the comparison with the live version."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    max_regression: Fraction = 0.02
    min_queries: Annotated[int, Field(ge=1)] = 20

    @model_validator(mode="after")
    def _floors_are_metrics(self) -> "Gate":
        for name, floor in (self.model_extra or {}).items():
            if not GATE_METRIC.match(name):
                raise ValueError(
                    f"unknown key {name!r}; expected recall@K, hit@K, precision@K, mrr@K, ndcg@K,"
                    " max_regression or min_queries"
                )
            if isinstance(floor, bool) or not isinstance(floor, int | float) or not 0 <= floor <= 1:
                raise ValueError(f"{name}: expected a number from 0 to 1, found {floor!r}")
        return self

    @property
    def floors(self) -> dict[str, float]:
        """Metric name to the value it must reach."""
        return {name: float(floor) for name, floor in (self.model_extra or {}).items()}


class EvaluationConfig(Section):
    """The eval sets and what a candidate must reach on them."""

    sets: list[str | BeirSet] = []
    gate: Gate = Gate()

    @property
    def eval_sets(self) -> list[BeirSet]:
        """The sets with their format spelled out."""
        return [BeirSet(path=s) if isinstance(s, str) else s for s in self.sets]


class LlmConfig(Section):
    """The model that writes answers: `extractive` or any litellm model name.

    fallbacks: models tried in order when the one before failed. timeout: seconds for a whole
    answer. first_token_timeout: seconds until a streamed answer begins.
    """

    model: str = "extractive"
    fallbacks: list[str] = []
    api_base: str | None = None
    api_key: str | None = None
    max_context_tokens: Annotated[int, Field(ge=256)] = 4096
    timeout: Annotated[float, Field(gt=0)] = 60.0
    first_token_timeout: Annotated[float, Field(gt=0)] = 20.0


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
    key: str | None = None
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

    key: makes the chain of hashes one that cannot be forged without it.
    """

    questions: Literal["text", "hash"] = "text"
    keep_days: Annotated[int, Field(ge=1)] = 90
    key: str | None = None


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


class KnowledgeBaseConfig(Section):
    """A whole knowledge_base.yaml, paths made absolute."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    storage: str = "./.rag"
    sources: Annotated[list[AnySource], Field(min_length=1)]
    chunking: ChunkingConfig = ChunkingConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    index: IndexConfig = IndexConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    llm: LlmConfig = LlmConfig()
    service: ServiceConfig = ServiceConfig()

    _path: Path = PrivateAttr(default=Path("knowledge_base.yaml"))

    @model_validator(mode="after")
    def _source_names_differ(self) -> "KnowledgeBaseConfig":
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"sources: the names {twice} are used more than once")
        return self

    @property
    def path(self) -> Path:
        """The file this was read from."""
        return self._path

    def source(self, name: str) -> SourceConfig:
        """The source of this name, or `ConfigError`."""
        for source in self.sources:
            if source.name == name:
                return source
        known = ", ".join(source.name for source in self.sources)
        raise ConfigError(f"{self.path}: no source named {name!r}; there are: {known}")


def find_config(path: str | os.PathLike[str] | None = None) -> Path:
    """The configuration file: `path`, else $RAG_CONFIG, else ./knowledge_base.yaml."""
    chosen = Path(path or os.environ.get("RAG_CONFIG") or "knowledge_base.yaml").expanduser()
    if chosen.is_dir():
        chosen = chosen / "knowledge_base.yaml"
    if not chosen.is_file():
        raise ConfigError(
            f"{chosen}: no such file. Name one with --config or RAG_CONFIG, or make one with"
            " `rag-assets init DIR`."
        )
    return chosen.resolve()


def load_config(path: str | os.PathLike[str] | None = None) -> KnowledgeBaseConfig:
    """Read, expand and check a knowledge_base.yaml.

    Raises: ConfigError with one line for every mistake: file, key, what was expected.
    """
    file = find_config(path)
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(
            f"{file}: cannot be read as YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: expected a mapping with the keys name, sources, …")
    problems: list[str] = []
    data = _expand(data, (), problems)
    config = None
    try:
        config = KnowledgeBaseConfig.model_validate(data)
    except ValidationError as error:
        problems += [_in_words(item) for item in error.errors()]
    if config is not None:
        problems += _not_applied(config)
        config = _with_absolute_paths(config, file.parent, problems)
    if problems or config is None:
        raise ConfigError("\n".join(f"{file}: {problem}" for problem in problems))
    config._path = file
    return config


def _not_applied(config: KnowledgeBaseConfig) -> list[str]:
    """Settings that would promise what a refresh does not do: refused, never ignored."""
    return [
        f"sources.{i}.pii: a refresh does not look for personal data yet; expected off, found"
        f" {source.pii.mode}"
        for i, source in enumerate(config.sources)
        if source.pii.mode != "off"
    ]


def _expand(value: Any, where: tuple[str, ...], problems: list[str]) -> Any:
    """`value` with ${NAME} and ${NAME:-default} replaced in every string."""
    if isinstance(value, dict):
        return {key: _expand(item, (*where, str(key)), problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, (*where, str(i)), problems) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def found(match: re.Match[str]) -> str:
        name, default = match.groups()
        if name in os.environ:
            return os.environ[name]
        if default is None:
            problems.append(f"{'.'.join(where)}: the environment variable {name} is not set")
            return ""
        return default

    return _VARIABLE.sub(found, value)


def _in_words(error: Any) -> str:
    """One pydantic error as `key: what is wrong, what was expected`."""
    tags = {"files", "records", "inbox", "sql", "web", "feed", "rest", "notion"}
    key = ".".join(str(part) for part in error["loc"] if part not in tags) or "the file"
    found = error.get("input")
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"{key}: unknown key"
    if kind == "missing":
        return f"{key}: this key is required"
    message = error["msg"].removeprefix("Value error, ")
    shown = repr(found) if not isinstance(found, dict | list) else type(found).__name__
    return f"{key}: {message}" + ("" if kind == "value_error" else f", found {shown}")


def _with_absolute_paths(
    config: KnowledgeBaseConfig, base: Path, problems: list[str]
) -> KnowledgeBaseConfig:
    """The configuration with paths resolved against `base`; dangling ones go to `problems`."""

    def resolved(path: str) -> str:
        if _URL.match(path):
            return path
        return os.path.normpath(base / Path(path).expanduser())

    def existing(path: str, key: str, kind: str) -> str:
        full = resolved(path)
        if not _URL.match(full):
            there = Path(full).is_dir() if kind == "directory" else Path(full).exists()
            if not there:
                problems.append(f"{key}: no such {kind}: {full}")
        return full

    def own(source: InboxConfig | WebConfig | FeedConfig, key: str) -> str:
        """Made when first written to, so it need not exist."""
        full = resolved(source.path or f"{config.storage.rstrip('/')}/{source.type}/{source.name}")
        if _URL.match(full):
            problems.append(f"{key}: expected a local directory to keep documents in: {full}")
        return full

    def located(source: SourceConfig, key: str) -> SourceConfig:
        if isinstance(source, InboxConfig | WebConfig | FeedConfig):
            return source.model_copy(update={"path": own(source, key)})
        if isinstance(source, FilesConfig | RecordsConfig):
            kind = "directory" if isinstance(source, FilesConfig) else "file"
            return source.model_copy(update={"path": existing(source.path, key, kind)})
        return source

    sources = [located(source, f"sources.{i}.path") for i, source in enumerate(config.sources)]
    sets = [
        entry.model_copy(update={"path": existing(entry.path, f"evaluation.sets.{i}", "file")})
        for i, entry in enumerate(config.evaluation.eval_sets)
    ]
    return config.model_copy(
        update={
            "storage": resolved(config.storage),
            "sources": sources,
            "evaluation": config.evaluation.model_copy(update={"sets": sets}),
        }
    )
