"""What the files of one knowledge base say now; what did not change is not read again."""

import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rag_assets.config import KnowledgeBaseConfig
from rag_assets.costs import Ledger
from rag_assets.embedding.store import EmbeddingStore
from rag_assets.index.base import Manifest
from rag_assets.index.versions import Versions
from rag_assets.lake import Lake
from rag_assets.operations.freshness import SourceState, source_states
from rag_assets.operations.history import History

_SIZES_SECONDS = 300.0  # a directory of a million files takes seconds to walk


@dataclass(frozen=True, slots=True)
class Live:
    """The live version: its manifest, when it was promoted (seconds since the epoch), what its
    gate found, and its figures by eval set."""

    version: int
    promoted_at: float | None
    manifest: Manifest
    verdict: dict[str, Any]
    report: dict[str, Any]


class Snapshot:
    """One knowledge base as it lies on disk. Not for use by several threads at once."""

    def __init__(self, config: KnowledgeBaseConfig) -> None:
        self.config = config
        self.versions = Versions(config.storage)
        self.history = History(config.storage)
        self.ledger = Ledger(config.storage)
        self._lake = Lake.at(config.storage)
        self._sources: tuple[object, dict[str, SourceState]] | None = None
        self._sizes: tuple[float, dict[str, int]] | None = None

    def live(self) -> Live | None:
        """The live version, None before the first promotion."""
        pointer = self.versions.pointer()
        if pointer is None:
            return None
        number = pointer.version
        moments = [
            entry["at"] for entry in self.versions.promotions() if entry["version"] == number
        ]
        return Live(
            number,
            datetime.fromisoformat(moments[-1]).timestamp() if moments else None,
            self.versions.manifest(number),
            self.versions.verdict(number),
            self._report(number),
        )

    def _report(self, version: int) -> dict[str, Any]:
        path = self.versions.root / "reports" / f"{version:06d}.json"
        try:
            return dict(json.loads(path.read_bytes())["summary"])
        except FileNotFoundError:
            return {}

    def version_states(self) -> Counter[str]:
        """How many kept versions are in each state."""
        return Counter(str(self.versions.state(number)) for number in self.versions.numbers())

    def sources(self) -> dict[str, SourceState]:
        """Every source by name; read again when one of its files or the promotions changed."""
        promotions = self.versions.promotions()
        stamp = (len(promotions), self._stamps())
        if self._sources is None or self._sources[0] != stamp:
            self._sources = (stamp, source_states(self._lake, self.config.sources, promotions))
        return self._sources[1]

    def _stamps(self) -> tuple[object, ...]:
        found: list[object] = []
        for stage in ("raw_documents", "documents"):
            for source in self.config.sources:
                for partition in source.partitions:
                    try:
                        status = self._lake.path(stage, partition).stat()
                    except FileNotFoundError:
                        continue
                    found.append((partition, stage, status.st_mtime, status.st_size))
        return tuple(found)

    def sizes(self) -> dict[str, int]:
        """Bytes of each part of the storage directory, at most five minutes old."""
        now = time.monotonic()
        if self._sizes is None or now - self._sizes[0] > _SIZES_SECONDS:
            self._sizes = (now, _sizes(Path(self.config.storage)))
        return self._sizes[1]

    def vectors(self) -> int | None:
        """Vectors of the live version's model in the embedding store."""
        live = self.live()
        if live is None:
            return None
        model = live.manifest.model
        directory = Path(self.config.storage) / "embeddings" / model
        return EmbeddingStore(directory, model, live.manifest.dimension).size().vectors


def _sizes(storage: Path) -> dict[str, int]:
    lake = storage / "lake"
    blobs = _bytes(lake / "blobs")
    found = {"blobs": blobs, "lake": _bytes(lake) - blobs}
    if storage.is_dir():
        for entry in os.scandir(storage):
            if entry.is_dir() and entry.name != "lake":
                found[entry.name] = _bytes(Path(entry.path))
    return found


def _bytes(directory: Path) -> int:
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue
    return total
