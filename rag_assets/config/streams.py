"""Sources that bring events: queues and change streams of databases."""

from typing import Annotated, Literal

from pydantic import Field

from rag_assets.config.base import Fraction
from rag_assets.config.sources import KeptSource

SecretUrl = Annotated[str, Field(min_length=1, repr=False)]


class EventSource(KeptSource):
    """A source whose events are kept in `path`. What is deleted was deleted on purpose, one by one,
    so the guard is off unless it is set."""

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
