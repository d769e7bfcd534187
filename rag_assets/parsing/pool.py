"""Parsing many documents in child processes that may hang, crash or run out of memory.

A child is an ordinary program started anew, not a fork: nothing of the parent (threads, locks, open
files, its `__main__`) exists in it, and killing it harms nobody. Its answers are JSON.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import IO

from rag_assets.parsing.base import Parsed, ParseLimits, ParseTask, Problem, Unparseable
from rag_assets.parsing.registry import parse
from rag_assets.parsing.sniff import sniff
from rag_assets.parsing.worker import from_json, write_frame

Result = tuple[str, Parsed | Problem]

# Formats that this package reads itself, in time linear in their size: a child would cost more
# than it protects from.
_HARMLESS = {
    "text/plain",
    "text/markdown",
    "text/x-rst",
    "text/asciidoc",
    "text/csv",
    "text/tab-separated-values",
    "application/json",
    "application/x-ndjson",
}
_SMALL = 256 << 10  # bytes
_READ = 1 << 20


def parse_many(items: Iterable[ParseTask], limits: ParseLimits | None = None) -> Iterator[Result]:
    """(task_id, Parsed or Problem) of every task, in the order they finish.

    Small text files are parsed here; everything else in children, started when the first such
    document comes. Never raises for a document, whatever it does to its parser.
    """
    limits = limits or ParseLimits()
    with closing(_Pool(limits)) as pool:
        for task in items:
            done = _parsed_here(task, limits)
            if done is not None:
                yield task.task_id, done
                continue
            while pool.is_full:
                yield from pool.results(wait=True)
            pool.submit(task)
            yield from pool.results(wait=False)
        while pool.is_busy:
            yield from pool.results(wait=True)


def _parsed_here(task: ParseTask, limits: ParseLimits) -> Parsed | Problem | None:
    """The result of a task that needs no child, None for one that does."""
    started = time.monotonic()
    try:
        size = len(task.data) if task.data is not None else _path(task).stat().st_size
        if size > limits.max_bytes:
            message = f"it has {size >> 20} MiB, the limit is {limits.max_bytes >> 20} MiB"
            return Problem("too_large", message, 0.0)
        if size > _SMALL:
            return None
        data = task.data if task.data is not None else _path(task).read_bytes()
        if data and not _is_harmless(sniff(data, task.name)):
            return None
        return parse(data, task.name)
    except Unparseable as error:
        return Problem(error.reason, error.message, time.monotonic() - started)
    except OSError as error:
        return Problem("unreadable", str(error), time.monotonic() - started)


def _is_harmless(media_type: str) -> bool:
    return media_type in _HARMLESS or media_type.startswith("text/x-")


def _path(task: ParseTask) -> Path:
    if task.path is None:
        raise OSError(f"{task.task_id}: the task has neither a path nor data")
    return task.path


class _Pool:
    """Up to `workers` children; each has at most one task."""

    def __init__(self, limits: ParseLimits) -> None:
        self._limits = limits
        self._most = limits.workers or min(os.cpu_count() or 1, 4)
        self._idle: list[_Child] = []
        self._busy: list[_Child] = []

    @property
    def is_full(self) -> bool:
        """Whether every child has a task."""
        return len(self._busy) >= self._most

    @property
    def is_busy(self) -> bool:
        """Whether any child has a task."""
        return bool(self._busy)

    def submit(self, task: ParseTask) -> None:
        """Give a task to an idle child, or to a new one."""
        child = self._idle.pop() if self._idle else _Child(self._limits)
        child.begin(task)
        self._busy.append(child)

    def results(self, *, wait: bool) -> list[Result]:
        """What has finished; when waiting, at least one result."""
        found = self._collected(_soonest(self._busy) if wait else 0.0)
        while wait and not found:
            found = self._collected(_soonest(self._busy))
        return found

    def _collected(self, patience: float) -> list[Result]:
        """The results that are there after at most so many seconds."""
        with selectors.DefaultSelector() as selector:
            for child in self._busy:
                selector.register(child.answers, selectors.EVENT_READ, child)
            for key, _ in selector.select(patience):
                key.data.read()
        found = []
        for child in list(self._busy):
            result = child.result()
            if result is None:
                continue
            found.append((child.task.task_id, result))
            self._busy.remove(child)
            if child.is_spent:
                child.end()
            else:
                self._idle.append(child)
        return found

    def close(self) -> None:
        """End every child, those at work too."""
        for child in (*self._idle, *self._busy):
            child.end()
        self._idle, self._busy = [], []


def _soonest(children: list["_Child"]) -> float:
    """Seconds until the first of the children is overdue."""
    return max(0.0, min(child.deadline for child in children) - time.monotonic())


class _Child:
    """One child process and the task it has."""

    def __init__(self, limits: ParseLimits) -> None:
        self._limits = limits
        self._process = _started(limits)
        self._answer = bytearray()
        self._ended = False
        self._tasks = 0
        self._started = 0.0
        self._spool: IO[bytes] | None = None
        self.task = ParseTask("", None, None, "")
        self.deadline = 0.0
        self.is_spent = False

    @property
    def answers(self) -> int:
        """The file descriptor that answers come from."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def begin(self, task: ParseTask) -> None:
        """Hand over a task."""
        self.task = task
        self._tasks += 1
        self._answer.clear()
        self._started = time.monotonic()
        self.deadline = self._started + self._limits.seconds
        path = str(task.path)
        if task.data is not None:
            self._spool = tempfile.NamedTemporaryFile(prefix="rag-assets-")  # noqa: SIM115
            self._spool.write(task.data)
            self._spool.flush()
            path = self._spool.name
        assert self._process.stdin is not None
        try:
            write_frame(self._process.stdin, {"path": path, "name": task.name})
        except BrokenPipeError:
            self._ended = True

    def read(self) -> None:
        """Take in what has been answered so far."""
        data = os.read(self.answers, _READ)
        self._answer += data
        self._ended = not data

    def result(self) -> Parsed | Problem | None:
        """The outcome, None while the child works within its time."""
        seconds = time.monotonic() - self._started
        outcome = self._outcome(seconds)
        if outcome is not None and self._spool is not None:
            self._spool.close()
            self._spool = None
        return outcome

    def _outcome(self, seconds: float) -> Parsed | Problem | None:
        wanted = 8 + int.from_bytes(self._answer[:8], "big")
        if len(self._answer) >= max(wanted, 8 + 1):
            self.is_spent = self._tasks >= self._limits.tasks_per_worker
            result = from_json(json.loads(self._answer[8:]), seconds)
            if isinstance(result, Problem) and result.reason == "out_of_memory":
                self.is_spent = True
            return result
        if self._ended:
            self.is_spent = True
            return _death(self._process.wait(), seconds)
        if seconds > self._limits.seconds:
            self.is_spent = True
            message = f"its parser did not finish within {self._limits.seconds:g} s and was killed"
            return Problem("timeout", message, seconds)
        return None

    def end(self) -> None:
        """Kill the process, with any program it has started, and reap it."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        if self._spool is not None:
            self._spool.close()


def _started(limits: ParseLimits) -> "subprocess.Popen[bytes]":
    program = "from rag_assets.parsing.worker import main; main()"
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    return subprocess.Popen(
        [sys.executable, "-c", program, str(limits.seconds), str(limits.memory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        bufsize=0,
        pipesize=_READ,
        start_new_session=True,  # a Ctrl-C in the terminal is the parent's to handle
    )


def _death(status: int, seconds: float) -> Problem:
    """What a child's exit status says of the document it had."""
    if status == -signal.SIGALRM:
        return Problem("timeout", "its parser did not finish in time and was killed", seconds)
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    # Compiled libraries abort when they get no memory; the system kills when it has none left.
    if status in {-signal.SIGABRT, -signal.SIGKILL}:
        return Problem("out_of_memory", f"its parser ran out of memory ({how})", seconds)
    return Problem("crashed", f"its parser died ({how})", seconds)
