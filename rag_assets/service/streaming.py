"""Server-sent events: framing, keeping a quiet connection open, and ending in time."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, TypeVar

import anyio
from fastapi.responses import StreamingResponse

from rag_assets.service.errors import Refusal, refusal_of

log = logging.getLogger(__name__)

T = TypeVar("T")

_END: Any = object()

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MEDIA_TYPE = "text/event-stream"
PING = ": ping\n\n"

_WIND_UP = 10.0  # seconds to stop a model whose answer nobody waits for
_QUIET = 15.0  # seconds; proxies close a connection that says nothing for 30 to 60


def event(data: Any, name: str | None = None) -> str:
    """One event; `data` as JSON on one line."""
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n"


async def respond(
    parts: AsyncIterator[T],
    frame: Callable[[T], str],
    deadline: float,
    failed: Callable[[Refusal], None],
    ending: str = "",
    *,
    named: bool = True,
) -> StreamingResponse:
    """The parts as server-sent events, each framed by `frame`, then `ending`.

    What fails before the first part is raised and so becomes a status; what fails later is handed
    to `failed` and becomes an event, called `error` when `named`. deadline: as for `in_time`.
    """
    timed = in_time(parts, deadline)
    first = await anext(timed)

    async def events() -> AsyncIterator[str]:
        try:
            yield PING if first is None else frame(first)
            async for part in timed:
                yield PING if part is None else frame(part)
            if ending:
                yield ending
        except Exception as error:  # noqa: BLE001 - the status is sent, so the stream must tell
            refusal = refusal_of(error)
            failed(refusal)
            yield event(refusal.body, "error" if named else None)
        finally:
            with anyio.CancelScope(shield=True):
                await timed.aclose()

    return StreamingResponse(events(), media_type=MEDIA_TYPE, headers=HEADERS)


async def in_time(
    parts: AsyncIterator[T], deadline: float, quiet: float = _QUIET
) -> AsyncGenerator[T | None, None]:
    """The parts as they come, and None whenever nothing came for `quiet` seconds.

    deadline: in seconds of `time.monotonic()`. Raises: TimeoutError when it has passed. Closes
    `parts` however it ends, so that a caller who left stops the model.
    """
    waiting: asyncio.Task[T] | None = None
    try:
        while True:
            if waiting is None:
                waiting = asyncio.ensure_future(_next(parts))
            left = deadline - time.monotonic()
            done, _ = await asyncio.wait({waiting}, timeout=max(0.0, min(quiet, left)))
            if not done:
                if deadline <= time.monotonic():
                    raise TimeoutError
                yield None
                continue
            finished, waiting = waiting, None
            if finished.result() is _END:
                return
            yield finished.result()
    finally:
        # Shielded: a caller who left cancels this task, again and again, also while it cleans up.
        with anyio.move_on_after(_WIND_UP, shield=True):
            await _end(parts, waiting)


async def _end(parts: AsyncIterator[T], waiting: asyncio.Task[T] | None) -> None:
    """Stop the step that `parts` is in, then close it."""
    if waiting is not None:
        waiting.cancel()
        await asyncio.wait({waiting})
        if not waiting.cancelled() and waiting.exception() is not None:
            log.debug("a stream was stopped in the middle", exc_info=waiting.exception())
    close = getattr(parts, "aclose", None)
    if close is not None:
        await close()


async def _next(parts: AsyncIterator[T]) -> T:
    return await anext(parts, _END)
