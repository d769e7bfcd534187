"""Source `queue`: documents that come as messages of a RabbitMQ queue.

A message is acknowledged when it is kept, and not before: kept means committed to a file that
survives a power cut. A consumer that dies at any point leaves messages that come again, which does
no harm. What cannot be used is kept with its reason and rejected, which moves it to the queue's
dead-letter queue.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rag_assets.config import QueueConfig
from rag_assets.errors import SourceError
from rag_assets.sources.followed import FollowedSource
from rag_assets.sources.kept import Event
from rag_assets.sources.message import event_of

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

_IDLE = 0.5  # seconds without a message after which the queue counts as read
_PATIENCE = 15  # seconds to connect, and to wait for a blocked server


@dataclass(frozen=True, slots=True)
class _Message:
    """A message: its number on the channel, what names it, its body."""

    tag: int
    name: str
    body: bytes


class QueueSource(FollowedSource):
    """Documents by the ids that messages give them."""

    def __init__(self, config: QueueConfig) -> None:
        self._config = config
        super().__init__(config)

    def _catch_up(self) -> None:
        deadline = time.monotonic() + self._config.seconds
        with self._channel() as channel:
            if self._config.declare:
                self._declare(channel)
            while time.monotonic() < deadline:
                answer = channel.queue_declare(self._config.queue, passive=True)
                batch = self._received(channel, answer.method.message_count)
                if not batch:
                    return
                self._settle(channel, batch)

    def _declare(self, channel: "BlockingChannel") -> None:
        """The queue and its dead-letter queue; one that is there already must be of this kind."""
        dead = f"{self._config.queue}.dead"
        channel.queue_declare(dead, durable=True, arguments={"x-queue-type": "quorum"})
        # A crash of ours counts as a delivery: the limit is there for messages that kill us.
        arguments = {
            "x-queue-type": "quorum",
            "x-delivery-limit": 100,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": dead,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        channel.queue_declare(self._config.queue, durable=True, arguments=arguments)

    def _received(self, channel: "BlockingChannel", waiting: int) -> list[_Message]:
        """The next messages, at most a batch. They are neither acknowledged nor consumed further.

        The consumer is cancelled before anything is acknowledged: to acknowledge first would refill
        its window, and all of that would count as delivered once more.
        """
        batch: list[_Message] = []
        wanted = min(self._config.batch, waiting)
        if not wanted:
            return batch
        channel.basic_qos(prefetch_count=wanted)
        for method, properties, body in channel.consume(
            self._config.queue, inactivity_timeout=_IDLE
        ):
            if method is None:
                break
            name = properties.message_id or hashlib.sha256(body).hexdigest()[:32]
            batch.append(_Message(method.delivery_tag, name, body))
            if len(batch) >= wanted:
                break
        channel.cancel()
        return batch

    def _settle(self, channel: "BlockingChannel", batch: list[_Message]) -> None:
        """Keep a batch, then let go of it: what is unusable first, as the rest goes in one."""
        unusable = self._kept_but(batch)
        for message in unusable:
            channel.basic_reject(message.tag, requeue=False)
        channel.basic_ack(batch[-1].tag, multiple=True)

    def _kept_but(self, batch: list[_Message]) -> list[_Message]:
        """Commit the events of a batch; the messages that are none, kept with their reasons."""
        events: list[tuple[_Message, Event]] = []
        unusable = []
        for message in batch:
            try:
                events.append((message, event_of(message.body)))
            except (ValueError, OverflowError) as error:
                self._kept.bury(message.name, str(error), message.body)
                unusable.append(message)
        return unusable + self._committed_but(events)

    def _committed_but(self, events: list[tuple[_Message, Event]]) -> list[_Message]:
        """Commit; a batch that fails is halved until the message at fault is alone."""
        if not events:
            return []
        try:
            self._kept.apply(event for _, event in events)
        except (ValueError, OverflowError) as error:
            if len(events) > 1:
                middle = len(events) // 2
                return self._committed_but(events[:middle]) + self._committed_but(events[middle:])
            [(message, _)] = events
            self._kept.bury(message.name, f"cannot be kept ({error})", message.body)
            return [message]
        return []

    @contextmanager
    def _channel(self) -> Iterator["BlockingChannel"]:
        try:
            import pika
            from pika.exceptions import AMQPError
        except ImportError as error:
            raise SourceError(
                f"source {self._config.name!r}: reading queues needs pika: pip install"
                " 'rag-assets[queue]'"
            ) from error
        try:
            settings = self._settings(pika.URLParameters)
            settings.socket_timeout = settings.stack_timeout = _PATIENCE
            settings.blocked_connection_timeout = _PATIENCE
            connection = pika.BlockingConnection(settings)
            try:
                yield connection.channel()
            finally:
                if connection.is_open:
                    connection.close()
        except (AMQPError, OSError) as error:
            raise self._failed(error) from error

    def _settings(self, make: Any) -> Any:
        try:
            return make(self._config.url)
        except ValueError as error:
            # Not what it says: pieces of the address, the password among them, are in it.
            why = ValueError("the address is none; what is special in a password must be encoded")
            raise self._failed(why) from error

    def _failed(self, error: Exception) -> SourceError:
        where = urlsplit(self._config.url)
        causes = [*getattr(error, "args", ()), error]
        told = (str(getattr(one, "reply_text", "") or one).strip() for one in causes)
        said = next(filter(None, told), "no answer")
        if where.password:
            said = said.replace(where.password, "***")
        why = f"{type(error).__name__}: {said.splitlines()[0][:300]}"
        return SourceError(
            f"source {self._config.name!r}: the queue {self._config.queue!r} at {where.hostname}"
            f" cannot be read ({why}); nothing of the"
            " source was changed. Check that the server runs, the queue is there and the account"
            " may read it"
        )
