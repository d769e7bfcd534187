"""A whole knowledge_base.yaml."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PrivateAttr, model_validator

from rag_assets.config.answering import LlmConfig, ServiceConfig
from rag_assets.config.base import Section
from rag_assets.config.canary import CanaryConfig
from rag_assets.config.connectors import FeedConfig, NotionConfig, RestConfig, WebConfig
from rag_assets.config.evaluation import EvaluationConfig
from rag_assets.config.operations import CostsConfig, NotifyConfig, UpkeepConfig
from rag_assets.config.pipeline import ChunkingConfig, EmbeddingConfig, IndexConfig
from rag_assets.config.retrieval import LlmRerank, RetrievalConfig
from rag_assets.config.s3 import S3Config
from rag_assets.config.sources import (
    FilesConfig,
    InboxConfig,
    RecordsConfig,
    SourceConfig,
    SqlConfig,
)
from rag_assets.config.streams import MongodbConfig, PostgresCdcConfig, QueueConfig
from rag_assets.config.training import InstructConfig
from rag_assets.config.wikis import (
    ConfluenceConfig,
    GithubConfig,
    JiraConfig,
    TelegramConfig,
    TicketsConfig,
)
from rag_assets.errors import ConfigError

AnySource = Annotated[
    FilesConfig
    | RecordsConfig
    | InboxConfig
    | SqlConfig
    | WebConfig
    | FeedConfig
    | RestConfig
    | NotionConfig
    | ConfluenceConfig
    | JiraConfig
    | GithubConfig
    | TicketsConfig
    | TelegramConfig
    | QueueConfig
    | PostgresCdcConfig
    | MongodbConfig,
    Field(discriminator="type"),
]


class KnowledgeBaseConfig(Section):
    """A whole knowledge_base.yaml, paths made absolute.

    storage: a directory, or s3://bucket/prefix. working_directory: where this machine works on what
    is in S3; in the user's cache unless given. s3: how S3 is reached, for storage and sources.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    storage: str = "./.rag"
    working_directory: str = ""
    s3: S3Config | None = None
    sources: Annotated[list[AnySource], Field(min_length=1)]
    chunking: ChunkingConfig = ChunkingConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    index: IndexConfig = IndexConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    llm: LlmConfig = LlmConfig()
    service: ServiceConfig = ServiceConfig()
    canary: CanaryConfig | None = None
    notify: NotifyConfig = NotifyConfig()
    costs: CostsConfig = CostsConfig()
    upkeep: UpkeepConfig = UpkeepConfig()
    instruct_dataset: InstructConfig = InstructConfig()

    _remote: str = PrivateAttr(default="")
    _literal_credentials: tuple[str, ...] = PrivateAttr(default=())
    _path: Path = PrivateAttr(default=Path("knowledge_base.yaml"))

    @model_validator(mode="after")
    def _source_names_differ(self) -> "KnowledgeBaseConfig":
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"sources: the name {', '.join(twice)} is used more than once; each source needs"
                " its own"
            )
        return self

    @model_validator(mode="after")
    def _search_has_its_language_model(self) -> "KnowledgeBaseConfig":
        found = self.retrieval
        wanted = {
            "rerank": isinstance(found.rerank, LlmRerank) and not found.rerank.model,
            "rewrites": found.rewrites is not None and not found.rewrites.model,
        }
        for key, unnamed in wanted.items():
            if unnamed and self.llm.model == "extractive":
                raise ValueError(
                    f"retrieval.{key}: needs a language model, but llm.model is extractive; set"
                    f" retrieval.{key}.model or llm.model"
                )
        return self

    @property
    def literal_credentials(self) -> tuple[str, ...]:
        """The keys at which the file holds a credential itself, not the name of a variable."""
        return self._literal_credentials

    @property
    def path(self) -> Path:
        """The file this was read from."""
        return self._path

    @property
    def remote(self) -> str:
        """The address of storage that is in an object store, of which `storage` is the working
        directory here; empty where storage is a directory."""
        return self._remote

    def source(self, name: str) -> SourceConfig:
        """The source of this name, or `ConfigError`."""
        for source in self.sources:
            if source.name == name:
                return source
        known = ", ".join(source.name for source in self.sources)
        raise ConfigError(f"{self.path}: no source named {name!r}; there are: {known}")
