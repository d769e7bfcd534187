"""Why a run failed, in the words of the error that did it."""

import logging
from collections.abc import Iterable

import dagster as dg

from rag_assets.errors import RagError

log = logging.getLogger(__name__)


def first_error(events: Iterable[dg.DagsterEvent], run_id: str) -> RagError:
    """The error of the first failed step, in our family where it came from there."""
    for event in events:
        if event.event_type_value != "STEP_FAILURE":
            continue
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            name = (error.cls_name or "").rpartition(".")[-1]
            message = error.message.strip().partition(": ")[2] or error.message.strip()
            kind = {c.__name__: c for c in _family(RagError)}.get(name)
            if kind is not None:
                return kind(message)
            log.debug("step %s failed:\n%s", event.step_key, error.to_string())
            return RagError(f"step {event.step_key} failed: {name}: {message}")
    return RagError(f"run {run_id} failed; see it in the Dagster UI")


def _family(base: type[RagError]) -> list[type[RagError]]:
    return [base, *(c for child in base.__subclasses__() for c in _family(child))]
