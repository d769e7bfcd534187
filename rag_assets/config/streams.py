"""Sources that bring events: queues and change streams of databases."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rag_assets.config.base import Fraction
from rag_assets.config.sources import KeptSource

SecretUrl = Annotated[str, Field(min_length=1, repr=False)]


class EventSource(KeptSource):
    """A source whose events are kept in `path`. What is deleted was deleted on purpose, one by one,
    so the guard is off unless it is set."""

    may_be_empty: ClassVar[bool] = True

    delete_guard: Fraction = 1.0
    every: Annotated[float, Field(ge=0)] = 1.0


class QueueConfig(EventSource):
    """Documents that come as messages of a RabbitMQ queue.

    url: amqp://user:password@host/vhost. declare: make the queue, durable and replicated, and
    beside it QUEUE.dead for messages that cannot be used. batch: messages a transaction. seconds:
    how long one look may go on taking messages in.
    """

    type: Literal["queue"]
    url: Annotated[SecretUrl, Field(pattern="^amqps?://")]
    queue: Annotated[str, Field(min_length=1, max_length=200)]
    declare: bool = False
    batch: Annotated[int, Field(ge=1, le=10_000)] = 1000
    seconds: Annotated[float, Field(gt=0)] = 30.0


class RowFields(EventSource):
    """What of a changed row or record becomes a document.

    text, title, uri: a column or path, or a template such as "{subject}: {body}". metadata_fields:
    what becomes metadata.
    """

    url: SecretUrl
    text: str = "text"
    title: str | None = None
    uri: str | None = None
    metadata_fields: list[str] = []
    batch: Annotated[int, Field(ge=1, le=100_000)] = 5000


class PostgresCdcConfig(RowFields):
    """Rows of a PostgreSQL table as they change, by logical replication.

    url: of SQLAlchemy, such as postgresql+psycopg://user:password@host/database. slot, publication:
    rag_NAME unless given. declare: make them when they are missing. A slot that nobody reads keeps
    the server from throwing its log away: drop it when the source goes.
    """

    type: Literal["postgres_cdc"]
    url: Annotated[SecretUrl, Field(pattern=r"^postgresql(\+\w+)?://")]
    table: Annotated[str, Field(min_length=1)]
    id: str = "id"
    slot: Annotated[str, Field(pattern="^[a-z0-9_]{0,63}$")] = ""
    publication: Annotated[str, Field(pattern="^[a-z0-9_]{0,63}$")] = ""
    declare: bool = True


class MongodbConfig(RowFields):
    """Documents of a MongoDB collection as they change, by a change stream.

    url: mongodb://… of a replica set. Documents are known by their _id.
    """

    type: Literal["mongodb"]
    url: Annotated[SecretUrl, Field(pattern=r"^mongodb(\+srv)?://")]
    database: Annotated[str, Field(min_length=1)]
    collection: Annotated[str, Field(min_length=1)]
