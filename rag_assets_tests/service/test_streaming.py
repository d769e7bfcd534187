import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from rag_assets.service.streaming import event, in_time


async def _parts(*items: object, closed: list[str]) -> AsyncIterator[object]:
    """The items; an event among them is waited for."""
    try:
        for item in items:
            if isinstance(item, asyncio.Event):
                await item.wait()
            else:
                yield item
    finally:
        closed.append("closed")


def test_parts_come_through_and_the_source_is_closed() -> None:
    async def run() -> tuple[list[object], list[str]]:
        closed: list[str] = []
        timed = in_time(_parts(1, 2, closed=closed), time.monotonic() + 60)
        return [part async for part in timed], closed

    assert asyncio.run(run()) == ([1, 2], ["closed"])


def test_a_quiet_source_is_bridged_by_pings() -> None:
    async def run() -> list[object]:
        gate = asyncio.Event()
        timed = in_time(_parts(gate, 1, closed=[]), time.monotonic() + 60, quiet=0.001)
        found = [await anext(timed), await anext(timed)]
        gate.set()
        async for part in timed:
            found.append(part)
        return [part for part in found if part is not None] + found[:2]

    assert asyncio.run(run()) == [1, None, None]


def test_a_source_that_takes_too_long_is_ended_and_closed() -> None:
    closed: list[str] = []

    async def run() -> None:
        timed = in_time(_parts(asyncio.Event(), closed=closed), time.monotonic() + 0.01)
        await anext(timed)

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    assert closed == ["closed"]


def test_leaving_closes_the_source() -> None:
    closed: list[str] = []

    async def run() -> None:
        timed = in_time(_parts(1, asyncio.Event(), closed=closed), time.monotonic() + 60, 0.001)
        assert [await anext(timed), await anext(timed)] == [1, None]
        await timed.aclose()

    asyncio.run(run())
    assert closed == ["closed"]


def test_an_event_is_one_line_of_json() -> None:
    assert event({"a": "x\ny"}, "text") == 'event: text\ndata: {"a": "x\\ny"}\n\n'
    assert event([1]) == "data: [1]\n\n"
