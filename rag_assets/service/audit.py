"""The audit log: one JSON line a request, chained by hashes, a file a day.

    STORAGE/service/audit/2026-11-20.jsonl    the lines of one UTC day
    STORAGE/service/audit/HEAD                number and hash of the newest line
    STORAGE/service/audit/START               the same of the newest line removed by retention

A line's `hash` is a digest of the line before it and of its own content, so that a changed, removed
or inserted line breaks the chain from there on, and a cut-off end does not meet HEAD. Without
`service.audit.key` whoever can write the files can also compute the chain anew; with it they
cannot. All workers of a machine append to one chain, under a lock.

Files stay open between lines: every system call gives up the interpreter's lock, which an event
loop beside busy threads waits long to get back.
"""

import fcntl
import hashlib
import hmac
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from rag_assets.answering.base import Answer
from rag_assets.config import AuditConfig
from rag_assets.errors import StorageError
from rag_assets.index.versions import write_atomically

_HEAD, _START = "HEAD", "START"
_HEAD_BYTES = 128
_ZERO = "0" * 64
_ERASED = "[erased]"
_TAIL = 1 << 20  # bytes read to find the last line of a file, and more where it is longer


@dataclass(frozen=True, slots=True)
class Link:
    """A place in the chain: how many lines so far, and the hash of the last of them."""

    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verifying found. problem: None, or the first break: file, line and what is wrong."""

    files: int
    lines: int
    problem: str | None


class AuditLog:
    """Appends to the chain; keeps the days it should."""

    def __init__(self, storage: str | Path, config: AuditConfig) -> None:
        self.directory = Path(storage) / "service" / "audit"
        self._config = config
        self._last: Link | None = None
        self._end: _Place | None = None  # after our last line
        self._opened: dict[str, int] = {}  # descriptors, by name
        self._one_thread = threading.Lock()

    def question(self, text: str) -> dict[str, str]:
        """A question as the log keeps it."""
        if self._config.questions == "text":
            return {"question": text}
        return {"question_sha256": hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()}

    def answer(self, question: str, answer: Answer | None) -> dict[str, Any]:
        """An answer as the log keeps it: its text with what stands behind its numbers, or nothing.

        question: what was asked, unless the answer is to a follow-up that was spelled out.
        """
        if self._config.answers != "text" or answer is None:
            return {}
        cited = {str(c.number): [c.chunk_id, c.quote] for c in answer.citations}
        asked = answer.standalone_question or question
        return {"answer": {"question": asked, "text": answer.text, "cited": cited}}

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line. Raises: StorageError when it cannot be written in full."""
        path = self.directory
        try:
            with self._locked():
                now = datetime.now(UTC)
                path = self._file(now)
                end = _place(path)
                new_day = end is None
                last = self._last
                if last is None or end is None or end != self._end:
                    last, end = self._reopened(path)
                line, link = self._line(last, {"at": now.isoformat(), **record})
                _write(self._descriptor(path.name), line, end.size)
                self._last, self._end = link, end._replace(size=end.size + len(line))
                self._write_head(link)
                if new_day:
                    self._forget_old(now.date())
        except (OSError, ValueError) as error:
            raise StorageError(f"{path}: the audit log cannot be written ({error})") from error

    def erase(self, tells: Callable[[str], bool], note: Mapping[str, Any]) -> int:
        """Take what `tells` of somebody out of every line, and compute the chain anew.

        A line that tells loses its question, its filters and every string that does; who asked,
        when and with what outcome stays. A line with `note` says that this was done.
        Returns how many lines were changed.

        Raises: StorageError when the chain is broken already, which must not be covered up.
        """
        if not self.directory.exists():
            return 0
        broken = self.verify().problem
        if broken:
            raise StorageError(f"the audit log was not erased from: {broken}")
        changed = 0
        with self._locked():
            last = self._read_link(_START)
            for path in _files(self.directory):
                lines = []
                for raw in path.read_bytes().split(b"\n")[:-1]:
                    line = json.loads(raw)
                    content = {k: v for k, v in line.items() if k not in ("number", "hash")}
                    clean = _without(content, tells)
                    changed += clean != content
                    written, last = self._line(last, clean)
                    lines.append(written)
                write_atomically(path, b"".join(lines))
                path.chmod(0o600)
            self._write_head(last)
            self._last = self._end = None
        if changed:
            self.append({**note, "lines_changed": changed})
        return changed

    def verify(self) -> Verdict:
        """Follow the whole chain. Raises: StorageError when it cannot be read."""
        if not self.directory.exists():
            return Verdict(0, 0, None)
        try:
            with self._locked():  # briefly: requests wait for it
                files = [(path, path.stat().st_size) for path in _files(self.directory)]
                start, head = self._read_link(_START), self._read_link(_HEAD)
            return self._verify(files, start, head)
        except OSError as error:
            raise StorageError(
                f"{self.directory}: the audit log cannot be read ({error.strerror})"
            ) from error

    def _verify(self, files: list[tuple[Path, int]], start: Link, head: Link) -> Verdict:
        """Follow the chain from `start` to `head`; files: with the bytes of them that count."""
        before = last = start
        lines = 0
        for path, size in files:
            with path.open("rb") as file:
                rows = file.read(size).split(b"\n")[:-1]
            for row, raw in enumerate(rows, start=1):
                problem = self._broken(last, raw)
                if problem:
                    return Verdict(len(files), lines, f"{path}, line {row}: {problem}")
                before, last = last, Link(last.number + 1, json.loads(raw)["hash"])
                lines += 1
        # A process killed between a line and HEAD leaves HEAD one behind.
        if head not in (last, before):
            problem = (
                f"{self.directory / _HEAD}: names line {head.number}, the log ends with line"
                f" {last.number}: lines were cut off, or HEAD was changed"
            )
            return Verdict(len(files), lines, problem)
        return Verdict(len(files), lines, None)

    def _broken(self, last: Link, raw: bytes) -> str | None:
        """Why a line does not continue the chain, or None."""
        try:
            line = json.loads(raw)
            content = {k: v for k, v in line.items() if k not in ("number", "hash")}
            number, found = line["number"], line["hash"]
        except (ValueError, AttributeError, KeyError):
            return "is not a line of the log"
        if number != last.number + 1:
            return f"is number {number}, expected {last.number + 1}: lines were removed or added"
        if found != self._digest(last, _json(content)):
            return "was changed, or the one before it was"
        return None

    def _line(self, last: Link, content: Mapping[str, Any]) -> tuple[bytes, Link]:
        """The line that follows, and the link that it makes."""
        said = _json(content)
        link = Link(last.number + 1, self._digest(last, said))
        return b'{"number": %d, %s, "hash": "%s"}\n' % (
            link.number,
            said[1:-1],
            link.hash.encode(),
        ), link

    def _digest(self, last: Link, content: bytes) -> str:
        """content: as `_json` writes it."""
        data = f"{last.number + 1} {last.hash} ".encode() + content
        if self._config.key:
            return hmac.new(self._config.key.encode(), data, hashlib.sha256).hexdigest()
        return hashlib.sha256(data).hexdigest()

    def _file(self, now: datetime) -> Path:
        """The file of the day; never an earlier one than before, whatever the clock does."""
        name = f"{now.date().isoformat()}.jsonl"
        return self.directory / max(name, self._end.name if self._end else "")

    def _reopened(self, path: Path) -> "tuple[Link, _Place]":
        """The end of the chain as it lies on disk, and that of the file; somebody else appended."""
        for name in [name for name in self._opened if name.endswith(".jsonl")]:
            os.close(self._opened.pop(name))
        last = self._newest()
        status = os.fstat(self._descriptor(path.name))
        return last, _Place(path.name, status.st_ino, status.st_size)

    def _newest(self) -> Link:
        for file in reversed(_files(self.directory)):
            line = _last_line(file)
            if line is not None:
                return Link(line["number"], line["hash"])
        return self._read_link(_START)

    def _forget_old(self, today: date) -> None:
        oldest = (today - timedelta(days=self._config.keep_days)).isoformat()
        for path in _files(self.directory):
            if path.stem >= oldest:
                return
            line = _last_line(path)
            if line is not None:
                write_atomically(
                    self.directory / _START, _json({"number": line["number"], "hash": line["hash"]})
                )
            path.unlink()

    def _read_link(self, name: str) -> Link:
        try:
            return Link(**json.loads((self.directory / name).read_bytes()))
        except FileNotFoundError:
            return Link(0, _ZERO)
        except (ValueError, TypeError):
            return Link(-1, "damaged")

    def _write_head(self, last: Link) -> None:
        """In place and of one length: one small write, and never a torn mixture of two."""
        data = _json({"number": last.number, "hash": last.hash}).ljust(_HEAD_BYTES)
        os.pwrite(self._descriptor(_HEAD, os.O_WRONLY | os.O_CREAT), data, 0)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._one_thread:
            if not self._opened:
                self.directory.mkdir(parents=True, exist_ok=True)
            lock = self._descriptor(".lock")
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)

    def _descriptor(self, name: str, flags: int = os.O_WRONLY | os.O_CREAT | os.O_APPEND) -> int:
        """An open file of the log."""
        if name not in self._opened:
            self._opened[name] = os.open(self.directory / name, flags, 0o600)
        return self._opened[name]

    def __del__(self) -> None:
        for descriptor in self._opened.values():
            os.close(descriptor)


class _Place(NamedTuple):
    """A file of the log as it was seen; another size or inode: somebody else wrote it."""

    name: str
    inode: int
    size: int


def _without(content: Mapping[str, Any], tells: Callable[[str], bool]) -> dict[str, Any]:
    """A line's content without what tells; its own question and filters go with it."""
    clean = {key: _cleaned(value, tells) for key, value in content.items()}
    if clean != content:
        clean |= {key: _ERASED for key in ("question", "filters", "answer") if key in clean}
    return clean


def _cleaned(value: Any, tells: Callable[[str], bool]) -> Any:
    if isinstance(value, str):
        return _ERASED if tells(value) else value
    if isinstance(value, list):
        return [_cleaned(item, tells) for item in value]
    if isinstance(value, dict):
        return {key: _cleaned(item, tells) for key, item in value.items()}
    return value


def _json(value: Mapping[str, Any]) -> bytes:
    """In ASCII, so that nothing in a question can look like the end of a line to any reader."""
    return json.dumps(value, sort_keys=True, default=str).encode()


def _files(directory: Path) -> list[Path]:
    return sorted(directory.glob("????-??-??.jsonl"))


def _place(path: Path) -> _Place | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return _Place(path.name, status.st_ino, status.st_size)


def _write(descriptor: int, line: bytes, size: int) -> None:
    """Append one whole line, or leave the file of so many bytes as it was."""
    if os.write(descriptor, line) != len(line):
        os.ftruncate(descriptor, size)
        raise OSError("the disk is full")


def _last_line(path: Path) -> dict[str, Any] | None:
    """The last whole line of a file; a torn one, left by a power cut, is removed."""
    with path.open("r+b") as file:
        start = size = file.seek(0, os.SEEK_END)
        tail = _TAIL
        lines: list[bytes] = []
        while start and len(lines) < 3:  # what may begin in the middle, the last line, a torn one
            start, tail = max(0, size - tail), 2 * tail
            file.seek(start)
            lines = file.read().split(b"\n")
        if lines and lines[-1]:
            file.truncate(size - len(lines[-1]))
    return dict(json.loads(lines[-2])) if len(lines) > 1 else None
