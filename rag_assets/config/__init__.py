"""knowledge_base.yaml: its schema, and reading it with every mistake reported at once."""

from rag_assets.config.answering import (
    AuditConfig,
    CacheConfig,
    JwtConfig,
    LimitsConfig,
    LlmConfig,
    ServiceConfig,
)
from rag_assets.config.base import (
    Fraction,
    Section,
)
from rag_assets.config.canary import CanaryConfig
from rag_assets.config.connectors import (
    FeedConfig,
    HttpSettings,
    NotionConfig,
    Pagination,
    RestConfig,
    WebConfig,
)
from rag_assets.config.evaluation import (
    GATE_METRIC,
    AnswersConfig,
    BeirSet,
    EvaluationConfig,
    Gate,
    JudgeConfig,
)
from rag_assets.config.knowledge_base import (
    AnySource,
    KnowledgeBaseConfig,
)
from rag_assets.config.loading import (
    find_config,
    load_config,
)
from rag_assets.config.operations import (
    CostsConfig,
    EmailConfig,
    EventName,
    NotifyConfig,
    SlackConfig,
    UpkeepConfig,
    WebhookConfig,
)
from rag_assets.config.pipeline import (
    ChunkingConfig,
    ChunkProfile,
    EmbeddingConfig,
    IndexConfig,
)
from rag_assets.config.retrieval import (
    CrossEncoderRerank,
    LlmRerank,
    NoRerank,
    Rerank,
    RetrievalConfig,
    Rewrites,
    TokensRerank,
    Weight,
    Weights,
)
from rag_assets.config.s3 import KeptPlace, S3Config, SqsConfig
from rag_assets.config.sources import (
    FilesConfig,
    InboxConfig,
    KeptSource,
    PiiConfig,
    PiiEntity,
    RecordsConfig,
    SourceConfig,
    SqlConfig,
)
from rag_assets.config.streams import (
    EventSource,
    MongodbConfig,
    PostgresCdcConfig,
    QueueConfig,
    RowFields,
)
from rag_assets.config.training import InstructConfig
from rag_assets.config.wikis import (
    AtlassianConfig,
    ConfluenceConfig,
    GithubConfig,
    JiraConfig,
    TelegramConfig,
    TicketsConfig,
)

__all__ = [
    "GATE_METRIC",
    "AnswersConfig",
    "AnySource",
    "AtlassianConfig",
    "AuditConfig",
    "BeirSet",
    "CacheConfig",
    "CanaryConfig",
    "ChunkProfile",
    "ChunkingConfig",
    "ConfluenceConfig",
    "CostsConfig",
    "CrossEncoderRerank",
    "EmailConfig",
    "EmbeddingConfig",
    "EvaluationConfig",
    "EventName",
    "EventSource",
    "FeedConfig",
    "FilesConfig",
    "Fraction",
    "Gate",
    "GithubConfig",
    "HttpSettings",
    "InboxConfig",
    "IndexConfig",
    "InstructConfig",
    "JiraConfig",
    "JudgeConfig",
    "JwtConfig",
    "KeptPlace",
    "KeptSource",
    "KnowledgeBaseConfig",
    "LimitsConfig",
    "LlmConfig",
    "LlmRerank",
    "MongodbConfig",
    "NoRerank",
    "NotifyConfig",
    "NotionConfig",
    "Pagination",
    "PiiConfig",
    "PiiEntity",
    "PostgresCdcConfig",
    "QueueConfig",
    "RecordsConfig",
    "Rerank",
    "RestConfig",
    "RetrievalConfig",
    "Rewrites",
    "RowFields",
    "S3Config",
    "Section",
    "ServiceConfig",
    "SlackConfig",
    "SourceConfig",
    "SqlConfig",
    "SqsConfig",
    "TelegramConfig",
    "TicketsConfig",
    "TokensRerank",
    "UpkeepConfig",
    "WebConfig",
    "WebhookConfig",
    "Weight",
    "Weights",
    "find_config",
    "load_config",
]
