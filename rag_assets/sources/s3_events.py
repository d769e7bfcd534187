"""What changed below an S3 prefix, by the notifications that S3 sends to an SQS queue.

A notification only names a key: what the object is now is asked when it is wanted, so that it does
no harm when notifications come twice, late or in any order. Names are kept before they are deleted
from the queue.
"""

import json
import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from rag_assets.config import S3Config, SqsConfig
from rag_assets.errors import SourceError
from rag_assets.object_stores import boto_client
from rag_assets.sources.journal import retried
from rag_assets.sources.kept import Event, Kept

_BATCH = 10  # messages that SQS gives at once
_SECONDS = 30.0  # how long one look may go on taking messages in


class S3Events:
    """Keys below `url` that notifications named."""

    def __init__(self, source: str, url: str, config: SqsConfig, s3: S3Config | None) -> None:
        self._source = source
        parts = urlsplit(url)
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        self._config = config
        self._s3 = s3
        self._kept = Kept.at(config, source)

    def named_since(self, cursor: str | None) -> tuple[list[str], str]:
        """Keys, below the prefix, that were named since a cursor, and the cursor behind them.

        Raises: SourceError when the queue cannot be asked.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            retried(self._caught_up, self._source)
        except (BotoCoreError, ClientError) as error:
            raise SourceError(
                f"source {self._source!r}: the notifications at {self._config.queue_url} cannot be"
                f" read ({type(error).__name__}: {error}); nothing of the source was changed. Check"
                " the address and the credentials"
            ) from error
        found = self._kept.changes(cursor)
        return [entry.key for entry in found.entries], found.cursor

    def _caught_up(self) -> None:
        self._kept.follow()
        self._catch_up()

    def _catch_up(self) -> None:
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            answer = self._client.receive_message(
                QueueUrl=self._config.queue_url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=0
            )
            messages = answer.get("Messages", [])
            if not messages:
                return
            # A key that is named again must count as named later than before.
            now = time.time_ns()
            keys = {key for message in messages for key in self._keys(message["Body"])}
            self._kept.apply(Event(key, now, token=str(now)) for key in sorted(keys))
            self._client.delete_message_batch(
                QueueUrl=self._config.queue_url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(messages)
                ],
            )

    def _keys(self, body: str) -> Iterator[str]:
        """The keys below the prefix that a message is about; none for tests and other messages."""
        for record in _records(body):
            s3 = record.get("s3") or {}
            key = unquote_plus(str((s3.get("object") or {}).get("key", "")))
            if (s3.get("bucket") or {}).get("name") != self._bucket:
                continue
            inside = f"{self._prefix}/" if self._prefix else ""
            if key.startswith(inside) and key != inside:
                yield key.removeprefix(inside)

    @cached_property
    def _client(self) -> Any:
        return boto_client("sqs", self._s3, self._config.endpoint_url)


def _records(body: str) -> list[dict[str, Any]]:
    """The records of a notification, also of one that came through SNS."""
    try:
        said = json.loads(body)
        if isinstance(said, dict) and "Records" not in said and "Message" in said:
            said = json.loads(said["Message"])
    except (ValueError, TypeError):
        return []
    found = said.get("Records") if isinstance(said, dict) else None
    return [record for record in found or [] if isinstance(record, dict)]
