"""Documents that must not come back: named by hashes, so that the list itself tells of nobody.

STORAGE/forgotten.json      sha256 of a document's id → when it was forgotten
"""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from rag_assets.errors import StorageError
from rag_assets.lake import replace_file


def name_of(doc_id: str) -> str:
    """What the list and receipts call a document."""
    return hashlib.sha256(doc_id.encode()).hexdigest()


class Forgotten:
    """The list of one knowledge base. Written under its refresh lock."""

    def __init__(self, storage: str | Path) -> None:
        self._path = Path(storage) / "forgotten.json"

    def add(self, doc_id: str) -> None:
        """From now on a document is not listed any more, whatever its source says."""
        self._write({**self._read(), name_of(doc_id): datetime.now(UTC).isoformat()})

    def lift(self, doc_id: str) -> bool:
        """Let a document in again; False when it was not on the list."""
        names = self._read()
        if names.pop(name_of(doc_id), None) is None:
            return False
        self._write(names)
        return True

    def has(self, doc_id: str) -> bool:
        """Whether a document is on the list."""
        return name_of(doc_id) in self._read()

    def left(self, listing: pl.DataFrame) -> pl.DataFrame:
        """The rows of a listing that may be used: those with a `doc_id` that is not on the list."""
        names = self._read()
        if not names:
            return listing
        allowed = [name_of(doc_id) not in names for doc_id in listing["doc_id"]]
        return listing.filter(pl.Series(allowed, dtype=pl.Boolean))

    def _read(self) -> dict[str, str]:
        try:
            return dict(json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            # Without the list, what was forgotten would come back.
            raise StorageError(
                f"{self._path}: cannot be read ({error}); restore it from a backup, or delete it to"
                " let every forgotten document in again"
            ) from error

    def _write(self, names: dict[str, str]) -> None:
        data = json.dumps(names, indent=1, sort_keys=True).encode()
        replace_file(self._path, lambda stream: stream.write(data))
