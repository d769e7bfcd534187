"""What every endpoint works with."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import cast

from fastapi import Request

from rag_assets.service.asking import Asker
from rag_assets.service.audit import AuditLog
from rag_assets.service.cache import AnswerCache
from rag_assets.service.erased import take_out_erased
from rag_assets.service.errors import Refusal
from rag_assets.service.library import Library
from rag_assets.service.limits import Limits
from rag_assets.service.metrics import Metrics
from rag_assets.service.principals import Principal
from rag_assets.service.record import Record


@dataclass(frozen=True)
class Service:
    """The parts of one running service."""

    library: Library
    asker: Asker
    audit: AuditLog
    limits: Limits
    metrics: Metrics


def open_service(config_paths: Sequence[str | PathLike[str]] = ()) -> Service:
    """The parts for these configuration files, or for the one found when none is named.

    Raises: ConfigError, StorageError.
    """
    library = Library.open(config_paths)
    config = library.service
    limits = Limits(config.limits, library.storage)
    metrics = Metrics(library)
    asker = Asker(library, limits, metrics, AnswerCache(config.cache))
    audit = AuditLog(library.storage, config.audit)
    for shelf in library.shelves.values():
        shelf.knowledge.on_pull = partial(take_out_erased, audit, shelf.config.storage)
    return Service(library, asker, audit, limits, metrics)


@dataclass(frozen=True)
class Call:
    """One request: the service, who asks, and what is being noted of it."""

    service: Service
    record: Record

    @property
    def principal(self) -> Principal:
        """Who is asking; the gate let nobody in without one."""
        return cast(Principal, self.record.principal)

    @property
    def deadline(self) -> float:
        """When the request must be over, in seconds of `time.monotonic()`."""
        left = self.service.library.service.limits.seconds - self.record.seconds
        return time.monotonic() + left

    def failed(self, refusal: Refusal) -> None:
        """Note that a stream broke off."""
        self.record.error = refusal.message


async def call_of(request: Request) -> Call:
    """The call of a request, as a FastAPI dependency."""
    return Call(request.app.state.service, request.state.record)
