"""`watch`: a warm process that refreshes as soon as a local source changes."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag_assets.config import KnowledgeBaseConfig
from rag_assets.defs.execute import Refresher
from rag_assets.errors import ConfigError, RagError
from rag_assets.notify import deliver_waiting
from rag_assets.refresh.pipeline import Options

log = logging.getLogger(__name__)

_DEBOUNCE_MS = 50  # a burst of saves is one refresh
_STEP_MS = 25


def watch_sources(
    config: KnowledgeBaseConfig, refresher: Refresher, stop: Any = None
) -> Iterator[dict[str, Any]]:
    """Receipts: of a first refresh, then of one after each burst of changes.

    stop: a threading.Event that ends the loop. An error in one refresh is logged, and the next
    change tries again.

    Raises: ConfigError when no source is local.
    """
    from watchfiles import watch

    places = local_paths(config)
    if not places:
        raise ConfigError(
            f"{config.path}: no local source to watch; use the sensor of `dagster dev`"
        )
    changes = watch(
        *places,
        stop_event=stop,
        debounce=_DEBOUNCE_MS,
        step=_STEP_MS,
        rust_timeout=500,
        yield_on_timeout=True,
    )
    waiting = True
    for found in changes:
        waiting = waiting or bool(found)
        if not waiting:
            deliver_waiting(config)
            continue
        waiting = False
        try:
            yield refresher.refresh(Options())
        except RagError as error:
            log.error("the refresh failed, waiting for the next change: %s", error)


def local_paths(config: KnowledgeBaseConfig) -> list[Path]:
    """Directories and files of sources on this machine."""
    paths = [Path(source.path) for source in config.sources if hasattr(source, "path")]
    return [path for path in paths if path.exists()]
