"""Source `mongodb`: documents of a collection as they change.

Changes and the resume token behind them are kept in one transaction, so that a change is taken in
once whatever happens in between. The first time, and when the server no longer has the history
behind the token, the whole collection is read after a new stream was opened.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rag_assets.config import MongodbConfig
from rag_assets.errors import SourceError
from rag_assets.sources.fields import scalar_of, text_at, value_at
from rag_assets.sources.followed import FollowedSource
from rag_assets.sources.kept import Event, usable
from rag_assets.sources.kept_rows import DeadLetter

if TYPE_CHECKING:
    from pymongo.collection import Collection

_POSITION = "token"
_PATIENCE_MS = 15_000
_AWAIT_MS = (
    200  # how long the server waits for one more change before it answers that there is none
)
_LOST = {260, 280, 286}  # InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost
_PUT, _DELETE = {"insert", "update", "replace"}, "delete"


@dataclass(frozen=True, slots=True)
class _Position:
    """A resume token, and how many changes were taken in: their order, as versions."""

    token: dict[str, Any]
    count: int

    def text(self) -> str:
        """As it is kept."""
        from bson import json_util

        return json.dumps({"token": json_util.dumps(self.token), "count": self.count})

    @classmethod
    def of(cls, text: str) -> "_Position":
        """What `text` made."""
        from bson import json_util

        said = json.loads(text)
        return cls(json_util.loads(said["token"]), said["count"])


class MongodbSource(FollowedSource):
    """Documents by their _id."""

    def __init__(self, config: MongodbConfig) -> None:
        self._config = config
        super().__init__(config)

    def _catch_up(self) -> None:
        from pymongo.errors import OperationFailure

        with self._kept.reading(), self._collection() as collection:
            text = self._kept.position(_POSITION)
            position = _Position.of(text) if text else self._begun(collection)
            try:
                self._follow(collection, position)
            except OperationFailure as error:
                if error.code not in _LOST:
                    raise
                self._follow(collection, self._begun(collection))

    def _begun(self, collection: "Collection") -> _Position:
        """The whole collection, behind the beginning of a new stream."""
        with collection.watch(max_await_time_ms=1) as stream:
            stream.try_next()
            token = stream.resume_token
            if token is None:
                raise self._failed("the server gives no resume token; it must be 4.2 or newer")
            position = _Position(dict(token), self._kept.newest() + 1)
            events = (self._event(found, position.count) for found in collection.find())
            self._kept.apply(events, (_POSITION, position.text()), whole=True)
        return position

    def _follow(self, collection: "Collection", position: _Position) -> None:
        """Take in every change up to now, a batch a transaction."""
        with collection.watch(
            resume_after=position.token,
            full_document="updateLookup",
            max_await_time_ms=_AWAIT_MS,
            batch_size=self._config.batch,
        ) as stream:
            count, ended = position.count, False
            while not ended and stream.alive:
                events: list[Event | DeadLetter] = []
                while len(events) < self._config.batch and not ended:
                    change = stream.try_next()
                    if change is None:
                        ended = True
                        break
                    count += 1
                    if change["operationType"] not in {*_PUT, _DELETE}:
                        # Dropped, renamed or cut off: only a look at all that is there can tell.
                        self._kept.apply(events)
                        self._begun(collection)
                        return
                    events += self._events(change, count)
                token = dict(stream.resume_token or position.token)
                if events or token != position.token:
                    position = _Position(token, count)
                    self._kept.apply(events, (_POSITION, position.text()))

    def _events(self, change: dict[str, Any], version: int) -> Iterator[Event | DeadLetter]:
        if change["operationType"] == _DELETE:
            yield Event(_identity(change["documentKey"]["_id"]), version, deleted=True)
        elif change.get("fullDocument") is not None:
            yield self._event(change["fullDocument"], version)
        # A document that was updated and then deleted has no text any more; its deletion follows.

    def _event(self, found: dict[str, Any], version: int) -> Event | DeadLetter:
        config = self._config
        key, record = _identity(found["_id"]), _plain(found)
        metadata = {name: scalar_of(value_at(record, name)) for name in config.metadata_fields}
        place = f"mongodb://{config.database}/{config.collection}/{quote(key, safe='')}"
        return usable(
            Event(
                key=key,
                version=version,
                data=text_at(record, config.text).encode(),
                name=f"{key}.txt",
                uri=text_at(record, config.uri) or place,
                title=text_at(record, config.title) or None,
                metadata={name: value for name, value in metadata.items() if value is not None},
            )
        )

    @contextmanager
    def _collection(self) -> Iterator["Collection"]:
        try:
            from pymongo import MongoClient
            from pymongo.errors import PyMongoError
        except ImportError as error:
            raise SourceError(
                f"source {self._config.name!r}: following MongoDB needs pymongo: pip install"
                " 'rag-assets[mongodb]'"
            ) from error
        try:
            client = self._client(MongoClient)
            with client:
                yield client[self._config.database][self._config.collection]
        except (PyMongoError, OSError) as error:
            raise self._failed(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error

    def _client(self, make: Any) -> Any:
        try:
            return make(
                self._config.url, serverSelectionTimeoutMS=_PATIENCE_MS, appname="rag-assets"
            )
        except ValueError as error:
            why = "the url is none; what is special in a password must be percent-encoded"
            raise self._failed(why) from error

    def _failed(self, why: str) -> SourceError:
        where = f"{self._config.database}.{self._config.collection}"
        return SourceError(
            f"source {self._config.name!r}: the collection {where} cannot be followed"
            f" ({why[:300]}); nothing of the source was changed. Change streams need a replica set"
        )


def _identity(value: Any) -> str:
    from bson import json_util

    plain = _plain(value)
    return plain if isinstance(plain, str) else json_util.dumps(value, sort_keys=True)


def _plain(value: Any) -> Any:
    """A value with what only MongoDB knows written as text: object ids, long decimals."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float | datetime | date | bytes):
        return value
    return str(value)
