"""Why a run failed, in the words of the error that did it."""

import logging
from collections.abc import Iterable, Iterator

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from rag_assets.errors import RagError

log = logging.getLogger(__name__)
_STOPPED = "DagsterExecutionInterruptedError"  # what Dagster makes of Ctrl-C within a step


def first_error(events: Iterable[dg.DagsterEvent], run_id: str) -> RagError:
    """The error of the first failed step, in our family where it came from there.

    Raises: KeyboardInterrupt where a person stopped the run.
    """
    kinds = {kind.__name__: kind for kind in _family(RagError)}
    for event in events:
        if event.event_type_value != "STEP_FAILURE":
            continue
        chain = list(_causes(event.step_failure_data.error))
        if any((error.cls_name or "").endswith(_STOPPED) for error in chain):
            raise KeyboardInterrupt
        for error in chain:
            kind = kinds.get((error.cls_name or "").rpartition(".")[-1])
            if kind is not None:
                return kind(_message(error))
        if chain:
            error = chain[-1]
            log.debug("step %s failed:\n%s", event.step_key, error.to_string())
            name = (error.cls_name or "").rpartition(".")[-1]
            return RagError(f"step {event.step_key} failed: {name}: {_message(error)}")
    return RagError(f"run {run_id} failed; see it in the Dagster UI")


def _causes(error: SerializableErrorInfo | None) -> Iterator[SerializableErrorInfo]:
    """An error and what caused it, from what was told to what happened."""
    while error is not None:
        yield error
        error = error.cause


def _message(error: SerializableErrorInfo) -> str:
    return error.message.strip().partition(": ")[2] or error.message.strip()


def _family(base: type[RagError]) -> list[type[RagError]]:
    return [base, *(c for child in base.__subclasses__() for c in _family(child))]
