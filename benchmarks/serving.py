"""`python -m benchmarks.serving`: the HTTP service on 20,000 chunks, measured from outside.

Builds a knowledge base once (minutes; kept under the system's temporary folder), starts
`rag-assets serve` on it and asks. Prints one line a figure with what it must reach; exit status 1
when one is missed.
"""

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CHUNKS = 20_000
_WORK = Path(tempfile.gettempdir()) / "benchmark-serving"
_EDITION = "edition.md"
_CLIENTS = 16

SUBJECTS = "vacation payroll laptop printer parking canteen insurance training travel security"
OBJECTS = "request form invoice report badge ticket contract schedule claim certificate"
ACTIONS = (
    "approved returned renewed archived escalated delivered cancelled reviewed signed corrected"
)


def passage(number: int) -> str:
    """A paragraph of some 45 words that no other number has."""
    pick = random.Random(number)
    subject, thing, action = (pick.choice(words.split()) for words in (SUBJECTS, OBJECTS, ACTIONS))
    return (
        f"Rule {number} on {subject}: every {thing} is {action} within {pick.randint(2, 60)}"
        f" working days by desk {pick.randint(1, 900)} in building {pick.randint(1, 40)}. Write the"
        f" reference {subject[:3].upper()}-{number} on the {thing}, keep a copy for"
        f" {pick.randint(1, 10)} years, and ask the {subject} team on floor {pick.randint(1, 12)}"
        f" when the {thing} of somebody else was {pick.choice(ACTIONS.split())} by mistake."
    )


def question(number: int) -> str:
    """A question about a rule."""
    pick = random.Random(number)
    subject, thing = pick.choice(SUBJECTS.split()), pick.choice(OBJECTS.split())
    return f"Within how many days is the {thing} {subject[:3].upper()}-{number} handled, and where?"


# -- the knowledge base ----------------------------------------------------------------------------


def make_base(root: Path, chunks: int) -> Path:
    """The configuration file of a refreshed knowledge base of so many chunks."""
    config = root / "knowledge_base.yaml"
    (root / "pages").mkdir(parents=True, exist_ok=True)
    if not config.exists():
        with (root / "rules.jsonl").open("w") as file:
            for number in range(chunks):
                file.write(json.dumps({"id": str(number), "text": passage(number)}) + "\n")
        config.write_text(
            "name: rules\nsources:\n"
            "  - {name: rules, type: records, path: ./rules.jsonl, buckets: 4}\n"
            "  - {name: pages, type: files, path: ./pages, buckets: 1}\n"
            "index: {keep_versions: 20}\n"
            "service: {cache: {entries: 0}}\n"
        )
    write_edition(root, 0)
    refresh(config)
    return config


def write_edition(root: Path, edition: int) -> None:
    """The one document that differs between versions; `PRESSRUN` finds it."""
    text = f"# Edition\n\nPRESSRUN: what you read is edition number {edition} of these rules.\n"
    (root / "pages" / _EDITION).write_text(text)


def refresh(config: Path) -> dict[str, Any]:
    """A real refresh in a process of its own; its receipt."""
    done = subprocess.run(
        [*_COMMAND, "refresh", "--config", str(config), "--json"], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"the refresh failed: {done.stderr[-500:]}")
    return dict(json.loads(done.stdout))


_COMMAND = (sys.executable, "-c", "from rag_assets.cli import main; main()")


# -- the service and its clients -------------------------------------------------------------------


@contextmanager
def served(config: Path, workers: int = 1) -> Iterator[tuple[int, int]]:
    """(port, process id) of a service that is ready."""
    command = [*_COMMAND, "serve", "--config", str(config), "--port", "0"]
    command += ["--workers", str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r":(\d+)$", process.stdout.readline().strip())
        assert found is not None
        yield int(found[1]), process.pid
    finally:
        process.terminate()
        process.wait()


class Client:
    """One keep-alive connection. Not httpx, which takes 2 ms of the CPU that is measured."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> "Client":
        self._in, self._out = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._out.close()
        await self._out.wait_closed()

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any], float]:
        """(status, JSON, milliseconds)."""
        data = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        start = time.perf_counter()
        self._out.write(head.encode() + data)
        reply = (await self._in.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: (\d+)", reply)
        if length is None:
            return int(reply.split(b" ", 2)[1]), await self._streamed(start), 0.0
        content = await self._in.readexactly(int(length[1]))
        taken = (time.perf_counter() - start) * 1000
        return int(reply.split(b" ", 2)[1]), json.loads(content), taken

    async def _streamed(self, start: float) -> dict[str, Any]:
        """The answer of a stream of events, with the milliseconds to its first text."""
        first, answer = 0.0, {}
        while size := int(await self._in.readline(), 16):
            event = (await self._in.readexactly(size + 2)).decode()
            if event.startswith("event: text") and not first:
                first = (time.perf_counter() - start) * 1000
            if event.startswith("event: answer"):
                answer = json.loads(event.partition("data: ")[2])
        await self._in.readline()
        return {**answer, "first_text_ms": first}


@dataclass
class Load:
    """What a number of requests by a number of clients gave."""

    taken: list[float] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)  # milliseconds of kb.search, as replied
    errors: list[str] = field(default_factory=list)
    first: list[float] = field(default_factory=list)  # milliseconds to the first text of a stream
    editions: set[tuple[int, str]] = field(default_factory=set)
    answered: set[tuple[int, str]] = field(default_factory=set)
    seconds: float = 0.0

    def percentile(self, percent: float) -> float:
        """Milliseconds."""
        return float(np.percentile(self.taken, percent))

    @property
    def overhead(self) -> float:
        """Median milliseconds between the caller's time and that of `kb.search`."""
        return float(np.median(np.subtract(self.taken, self.inside)))


Request = tuple[str, dict[str, Any]]
"""Path and body."""


async def loaded(port: int, requests: Sequence[Request], clients: int) -> Load:
    """Send every request once, by so many clients, each as fast as it is answered."""
    load, left = Load(), iter(requests)

    async def work() -> None:
        async with Client(port) as client:
            for path, body in left:
                status, reply, taken = await client.post(path, body)
                load.taken.append(taken)
                if status != 200:
                    load.errors.append(f"{status}: {reply}")
                    continue
                load.inside.append(reply.get("milliseconds", 0.0))
                load.first.append(reply.get("first_text_ms", 0.0))
                for hit in reply.get("hits", []):
                    if hit["doc_id"] == f"pages/{_EDITION}":
                        load.editions.add((reply["index_version"], hit["text"]))
                for citation in reply.get("citations", []):
                    if citation["doc_id"] == f"pages/{_EDITION}":
                        load.answered.add((reply["index_version"], citation["quote"]))

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    load.seconds = time.perf_counter() - start
    return load


def searches(start: int, count: int) -> list[Request]:
    """Searches, no two alike."""
    numbers = range(start, start + count)
    return [("/v1/search", {"query": question(number), "k": 5}) for number in numbers]


def answers(start: int, count: int, *, stream: bool = False) -> list[Request]:
    """Questions, no two alike."""
    numbers = range(start, start + count)
    more = {"stream": True} if stream else {}
    return [("/v1/answer", {"question": question(number), **more}) for number in numbers]


def memory(process: int) -> float:
    """MB of a process that are its own: what it maps of index files is the page cache's."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    found = re.search(r"Anonymous:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) / 1024


# -- what is measured ------------------------------------------------------------------------------


def measure_workers(config: Path) -> list[tuple[str, float, float | None, str]]:
    """Searches by many clients of a service with a process a core, as it is run for many."""
    cores = len(os.sched_getaffinity(0))
    with served(config, cores) as (port, _):
        for start in range(0, 600, 100):  # new connections each time, so that every process is warm
            asyncio.run(loaded(port, searches(start, 100), _CLIENTS))
        load = asyncio.run(loaded(port, searches(50_000, 3000), _CLIENTS))
    what = f"search, {_CLIENTS} clients, {cores} workers"
    return [
        (what, len(load.taken) / load.seconds, 150, "requests/s"),
        (f"{what}, p50", load.percentile(50), None, "ms"),
        (f"{what}, p95", load.percentile(95), 200, "ms"),
        (f"{what}, errors", float(len(load.errors)), 0, ""),
    ]


def measure(config: Path, requests: int) -> list[tuple[str, float, float | None, str]]:
    """(what, figure, what it must reach or None, unit); a figure must be at most its limit, or at
    least it where the unit is a rate."""
    rows: list[tuple[str, float, float | None, str]] = []
    with served(config) as (port, process):

        def run(requests: list[Request], clients: int) -> Load:
            load = asyncio.run(loaded(port, requests, clients))
            if load.errors:
                raise SystemExit(f"{requests[0][0]}: {load.errors[0]}")
            return load

        def add(what: str, load: Load, limits: dict[int, float]) -> None:
            for percent in (50, 95, 99):
                limit = limits.get(percent)
                rows.append((f"{what}, p{percent}", load.percentile(percent), limit, "ms"))

        run(searches(0, 300), 4)
        one = run(searches(1000, 500), 1)
        add("search, 1 client", one, {50: 15})
        rows.append(("overhead over kb.search, p50", one.overhead, 3, "ms"))
        many = run(searches(2000, 3000), _CLIENTS)
        rate = len(many.taken) / many.seconds
        rows.append((f"search, {_CLIENTS} clients", rate, 150, "requests/s"))
        add(f"search, {_CLIENTS} clients", many, {95: 200})
        run(answers(5900, 50), 1)
        add("extractive answer, 1 client", run(answers(6000, 250), 1), {95: 120})
        many = run(answers(6300, 600), _CLIENTS)
        rate = len(many.taken) / many.seconds
        rows.append((f"extractive answer, {_CLIENTS} clients", rate, None, "requests/s"))
        add(f"extractive answer, {_CLIENTS} clients", many, {})
        for clients in (1, 4):
            streamed = run(answers(7000 + 300 * clients, 150, stream=True), clients)
            streamed.taken = streamed.first
            add(f"first text of a stream, {clients} client{'s'[: clients - 1]}", streamed, {})
        rows += measure_swaps(config, port, process, requests)
    return [*measure_workers(config), *rows]


def _about_edition(number: int) -> Request:
    """A search, and every fourth time an answer, about the document that differs."""
    text = f"Which edition number does PRESSRUN say is read? ({number})"
    if number % 16:
        return ("/v1/search", {"query": text, "k": 5})
    return ("/v1/answer", {"question": text})


def measure_swaps(
    config: Path, port: int, process: int, requests: int
) -> list[tuple[str, float, float | None, str]]:
    """Requests while versions are promoted and rolled back under them."""
    bodies = [
        _about_edition(number) if number % 4 == 0 else request
        for number, request in enumerate(searches(10_000, requests))
    ]
    swaps = [*["promote"] * 3, "rollback", *["promote"] * 2, "rollback"]
    begun = int(time.time())
    done: list[str] = []
    stop = threading.Event()

    def change() -> None:
        for number, swap in enumerate(swaps):
            if swap == "promote":
                write_edition(config.parent, begun + number)
                receipt = refresh(config)
                done.append(f"{swap} {receipt['live_version']}")
            else:
                subprocess.run(
                    [*_COMMAND, "rollback", "--config", str(config)],
                    check=True,
                    capture_output=True,
                )
                done.append(swap)
        stop.set()

    changing = threading.Thread(target=change)
    before = memory(process)
    changing.start()
    total = Load()
    # Every request is sent; then on, until the last swap was served too.
    while len(total.taken) < requests or not stop.is_set():
        part = asyncio.run(loaded(port, bodies[: max(500, requests // 10)], 8))
        bodies = bodies[max(500, requests // 10) :] + bodies[: max(500, requests // 10)]
        for name in ("taken", "inside", "errors"):
            getattr(total, name).extend(getattr(part, name))
        total.editions |= part.editions
        total.answered |= part.answered
    changing.join()
    after_swaps = memory(process)
    asyncio.run(loaded(port, searches(40_000, 3000), 8))
    after = memory(process)
    versions = {version for version, _ in total.editions}
    mixed = len(total.editions) - len(versions)
    answered = {version for version, _ in total.answered}
    mixed += len(total.answered) - len(answered)
    print(f"swaps: {', '.join(done)}; versions that answered: {sorted(versions)}", file=sys.stderr)
    return [
        ("requests while versions are swapped", float(len(total.taken)), requests, "requests/run"),
        ("errors among them", float(len(total.errors)), 0, ""),
        ("answers that mixed two versions", float(mixed), 0, ""),
        ("versions that answered", float(len(versions)), 5, "versions/run"),
        ("versions that answered questions", float(len(answered)), None, "versions/run"),
        ("p95 meanwhile, 8 clients", total.percentile(95), None, "ms"),
        ("p99 meanwhile, 8 clients", total.percentile(99), None, "ms"),
        ("memory before, anonymous", before, None, "MB"),
        ("memory after the swaps", after_swaps, None, "MB"),
        ("growth over 3,000 requests after", after - after_swaps, 20, "MB"),
    ]


def main() -> None:
    """Measure and print."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--chunks", type=int, default=CHUNKS)
    given.add_argument("--requests", type=int, default=10_000)
    options = given.parse_args()
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    config = make_base(_WORK / str(options.chunks), options.chunks)
    missed = 0
    load = os.getloadavg()[0]
    print(f"{options.chunks} chunks, {os.cpu_count()} cores, load average {load:.1f} at the start")
    for what, figure, limit, unit in measure(config, options.requests):
        verdict = ""
        if limit is not None:
            met = figure >= limit if "/" in unit else figure <= limit
            missed += not met
            verdict = f"  {'ok' if met else 'MISSED'} (limit {limit:g})"
        print(f"{what:<40} {figure:>10.1f} {unit.split('/run')[0]}{verdict}")
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
