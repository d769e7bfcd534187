"""Sources whose changes are taken in first, and listed from what is kept."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from rag_assets.config import KeptSource
from rag_assets.sources.base import Changes, Entry
from rag_assets.sources.journal import retried
from rag_assets.sources.kept import Kept


class FollowedSource(ABC):
    """A source that keeps what it was told; a subclass says how it catches up."""

    def __init__(self, config: KeptSource) -> None:
        self._name = config.name
        self._kept = Kept.at(config, config.name)

    def scan(self) -> Iterator[Entry]:
        """Every document that is not deleted, after catching up. Raises: SourceError."""
        retried(self._caught_up, self._name)
        return self._kept.entries()

    def changes(self, cursor: str | None) -> Changes:
        """What changed since a cursor, after catching up. Raises: SourceError."""
        retried(self._caught_up, self._name)
        return self._kept.changes(cursor)

    def fetch(self, entry: Entry) -> bytes:
        """A document as it was last taken in. Raises: SourceError when it is gone."""
        return self._kept.read(entry.key) or b""

    def forget(self, key: str) -> bool:
        """Remove what is kept of a document."""
        return self._kept.forget(key)

    def _caught_up(self) -> None:
        self._kept.follow()
        self._catch_up()

    @abstractmethod
    def _catch_up(self) -> None:
        """Take in what changed since the last time. Raises: SourceError."""
