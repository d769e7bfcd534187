"""Regular upkeep: tidy, compare the live version with its manifest, tell what stands."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from rag_assets.errors import IndexNotReady
from rag_assets.notify.after import open_outbox, standing_events
from rag_assets.notify.base import Event
from rag_assets.operations.tidying import tidy
from rag_assets.records import digest_of
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.refresh.quarantine import quarantined
from rag_assets.refresh.repair import reconcile_live

_SEEN = ("quarantine", "silent", "budget", "integrity")


def keep_up(pipeline: Pipeline, clock: Callable[[], float] = time.time) -> dict[str, Any]:
    """Do all of it; returns removed (what: count), problems of the live version, messages_waiting.

    Raises: Busy when a refresh does not end in time.
    """
    now = clock()
    removed = tidy(pipeline, datetime.fromtimestamp(now, UTC))
    try:
        problems = list(reconcile_live(pipeline, repair=False)["problems"])
    except IndexNotReady:
        problems = []
    waiting = 0
    if pipeline.config.notify.active:
        box = open_outbox(pipeline.config, clock)
        found = standing_events(pipeline.config, quarantined(pipeline), now)
        box.announce([*found, *_damage(problems)], _SEEN)
        waiting = box.waiting()
    return {"removed": removed, "problems": problems, "messages_waiting": waiting}


def _damage(problems: list[str]) -> list[Event]:
    if not problems:
        return []
    title = "the live version is damaged; run `rag-assets reconcile --repair`"
    return [Event("failed", "integrity", digest_of(*problems), title, lines=tuple(problems))]
