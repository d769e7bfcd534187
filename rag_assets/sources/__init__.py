"""Where documents come from: `open_source` makes the source that a configuration names."""

from collections.abc import Callable
from typing import Any

from rag_assets.config import (
    ConfluenceConfig,
    FeedConfig,
    FilesConfig,
    GithubConfig,
    InboxConfig,
    JiraConfig,
    MongodbConfig,
    NotionConfig,
    PostgresCdcConfig,
    QueueConfig,
    RecordsConfig,
    RestConfig,
    SourceConfig,
    SqlConfig,
    TelegramConfig,
    TicketsConfig,
    WebConfig,
)
from rag_assets.sources.base import Changes, ChangeSource, Entry, Source
from rag_assets.sources.confluence import ConfluenceSource
from rag_assets.sources.feed import FeedSource
from rag_assets.sources.files import open_files
from rag_assets.sources.github import GithubSource
from rag_assets.sources.inbox import InboxSource
from rag_assets.sources.jira import JiraSource
from rag_assets.sources.mongodb import MongodbSource
from rag_assets.sources.notion import NotionSource
from rag_assets.sources.postgres_cdc import PostgresCdcSource
from rag_assets.sources.queue import QueueSource
from rag_assets.sources.records import RecordsSource
from rag_assets.sources.rest import RestSource
from rag_assets.sources.sql import SqlSource
from rag_assets.sources.telegram import TelegramSource
from rag_assets.sources.tickets import TicketsSource
from rag_assets.sources.web import WebSource

__all__ = ["ChangeSource", "Changes", "Entry", "Source", "open_source"]

# A source's section of knowledge_base.yaml → what opens it.
OPENERS: dict[type[SourceConfig], Callable[[Any], Source]] = {
    FilesConfig: open_files,
    RecordsConfig: RecordsSource,
    InboxConfig: InboxSource,
    SqlConfig: SqlSource,
    WebConfig: WebSource,
    FeedConfig: FeedSource,
    RestConfig: RestSource,
    NotionConfig: NotionSource,
    ConfluenceConfig: ConfluenceSource,
    JiraConfig: JiraSource,
    GithubConfig: GithubSource,
    TicketsConfig: TicketsSource,
    TelegramConfig: TelegramSource,
    QueueConfig: QueueSource,
    PostgresCdcConfig: PostgresCdcSource,
    MongodbConfig: MongodbSource,
}


def open_source(config: SourceConfig) -> Source:
    """The source of one entry of `sources:`. Nothing is read or connected yet."""
    return OPENERS[type(config)](config)
