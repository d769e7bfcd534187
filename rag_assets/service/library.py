"""The knowledge bases that one service answers from, by name."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Any

from rag_assets.answering.calibration import load
from rag_assets.answering.litellm_setup import load_litellm
from rag_assets.answering.models import EXTRACTIVE
from rag_assets.config import InboxConfig, KnowledgeBaseConfig, ServiceConfig, load_config
from rag_assets.errors import ConfigError, GateRefused, RagError
from rag_assets.index.versions import Versions
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.service.canary import Arms
from rag_assets.service.errors import Refused
from rag_assets.sources.inbox import Inbox

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shelf:
    """One open knowledge base, and what of it lies on disk."""

    config: KnowledgeBaseConfig
    knowledge: KnowledgeBase

    @property
    def name(self) -> str:
        """What callers ask for."""
        return self.config.name

    @cached_property
    def versions(self) -> Versions:
        """Its index versions."""
        return Versions(self.config.storage)

    @cached_property
    def arms(self) -> Arms:
        """Who answers which question."""
        return Arms(self.knowledge)

    def live_version(self) -> int:
        """The number of the live version. Raises: IndexNotReady."""
        return self.versions.live().version

    def checked_version(self, version: int | None) -> int | None:
        """`version`, if it is None or kept on disk and proven. Raises: Refused (404, 409)."""
        if version is None:
            return None
        if (self.versions.directory(version) / "MANIFEST.json").is_file():
            try:
                self.versions.demand_proven(version)
            except GateRefused as error:
                raise Refused(409, str(error), "version_not_proven", "version") from error
            return version
        known = ", ".join(map(str, self.versions.sealed())) or "none"
        raise Refused(
            404,
            f"index version {version} does not exist; there are: {known}",
            "version_not_found",
            "version",
        )

    def report(self, version: int) -> dict[str, Any]:
        """The stored evaluation figures of a version, by eval set; empty when never judged."""
        path = self.versions.root / "reports" / f"{version:06d}.json"
        try:
            return dict(json.loads(path.read_bytes())["summary"])
        except FileNotFoundError:
            return {}

    def confidence(self) -> dict[str, Any] | None:
        """What was measured when confidence was learnt, and on which version; None if never."""
        learnt = load(self.config.storage)
        if learnt is None:
            return None
        return {
            "learnt_on_version": learnt.version,
            **learnt.at(self.config.llm.answer_share).figures,
        }

    def version_rows(self) -> list[dict[str, Any]]:
        """Every kept version, newest first."""
        rows = []
        for number in reversed(self.versions.sealed()):
            manifest = self.versions.manifest(number)
            rows.append(
                {
                    "version": number,
                    "state": str(self.versions.state(number)),
                    "created_at": manifest.created_at,
                    "parent": manifest.parent,
                    "documents": manifest.documents,
                    "chunks": manifest.chunks,
                    "embedding_model": manifest.embedding_model,
                    "metrics": self.report(number),
                    "checks": [
                        {
                            "name": name,
                            "passed": bool(outcome["passed"]),
                            "summary": str(outcome.get("summary", "")),
                            "value": outcome.get("value"),
                            "floor": outcome.get("floor"),
                        }
                        for name, outcome in sorted(self.versions.verdict(number).items())
                    ],
                }
            )
        return rows

    def inbox(self, source: str) -> Inbox:
        """Where documents pushed to a source go. Raises: Refused (404, 409)."""
        for config in self.config.sources:
            if config.name == source and isinstance(config, InboxConfig):
                return Inbox.at(config, source)
            if config.name == source:
                raise Refused(
                    409,
                    f"source {source!r} is of type {config.type}, which is read and not pushed to;"
                    " push to a source of type inbox",
                    "not_an_inbox",
                    "source",
                )
        known = [c.name for c in self.config.sources if isinstance(c, InboxConfig)]
        raise Refused(
            404,
            f"there is no source {source!r} in {self.name!r}; documents can be pushed to:"
            f" {', '.join(known) or 'none, configure a source of type inbox'}",
            "source_not_found",
            "source",
        )


class Library:
    """Every knowledge base of one service; the first is asked when a request names none."""

    def __init__(self, configs: Sequence[KnowledgeBaseConfig]) -> None:
        self.shelves: Mapping[str, Shelf] = {
            config.name: Shelf(config, KnowledgeBase(config)) for config in configs
        }
        self.default = next(iter(self.shelves.values()))

    @classmethod
    def open(cls, paths: Sequence[str | PathLike[str]]) -> "Library":
        """The knowledge bases of these configuration files; one that is found when none is named.

        Raises: ConfigError, also where the files disagree about the service.
        """
        configs = [load_config(path) for path in paths] or [load_config(None)]
        names = [config.name for config in configs]
        for config in configs[1:]:
            if names.count(config.name) > 1:
                raise ConfigError(f"{config.path}: the name {config.name!r} is used twice")
            if config.service not in (configs[0].service, ServiceConfig()):
                raise ConfigError(
                    f"{config.path}: service: differs from that of {configs[0].path}, which is the"
                    " one that counts; remove it here or make both equal"
                )
        return cls(configs)

    @property
    def service(self) -> ServiceConfig:
        """How the service is run: as the first knowledge base says."""
        return self.default.config.service

    @property
    def storage(self) -> str:
        """Where the service keeps its own files: with the first knowledge base."""
        return self.default.config.storage

    def shelf(self, name: str | None, param: str = "knowledge_base") -> Shelf:
        """The knowledge base of this name, or the default one. Raises: Refused (404)."""
        if name is None:
            return self.default
        if name in self.shelves:
            return self.shelves[name]
        known = ", ".join(self.shelves)
        code = "model_not_found" if param == "model" else "knowledge_base_not_found"
        raise Refused(404, f"there is no {param} {name!r}; there are: {known}", code, param)

    def problems(self) -> dict[str, str]:
        """Why which knowledge base cannot answer now; nothing when all can."""
        found = {}
        for name, shelf in self.shelves.items():
            try:
                shelf.versions.manifest(shelf.live_version())
            except RagError as error:
                found[name] = str(error)
        return found

    def warm(self) -> None:
        """Load models and live indexes, so that the first caller need not wait for them.

        One that is not ready is left for its first refresh, or whatever it needs.
        """
        for shelf in self.shelves.values():
            try:
                shelf.knowledge.search("warm up", k=1)
                if shelf.config.llm.model == EXTRACTIVE:
                    shelf.knowledge.answer("warm up")
                else:
                    load_litellm()  # seconds; asking the model itself would cost money
            except RagError as error:
                log.warning("%s is not ready: %s", shelf.name, error)

    def close(self) -> None:
        """Close every knowledge base."""
        for shelf in self.shelves.values():
            shelf.knowledge.close()
