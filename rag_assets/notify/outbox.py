"""From events to messages: news once, reminders seldom, nothing lost while a receiver is down.

STORAGE/notify/state.json    what holds now and was told when; messages that are on their way
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from rag_assets.config import NotifyConfig
from rag_assets.index.versions import write_atomically
from rag_assets.notify.base import Channel, Event, Message, Pending, Undelivered
from rag_assets.records import digest_of

log = logging.getLogger(__name__)

_GIVE_UP = 3 * 86_400.0  # seconds after which a message is old news
_LONGEST_PAUSE = 3_600.0
_FIRST_PAUSE = 30.0


@dataclass(slots=True)
class _Told:
    """What is known of one subject. state: as last seen; sent: when it was last told."""

    state: str
    title: str
    lasting: bool
    sent: float | None = None


@dataclass(slots=True)
class _State:
    subjects: dict[str, _Told] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)  # subject → last message, also when over
    pending: list[Pending] = field(default_factory=list)


class Outbox:
    """The messages of one knowledge base; shared by processes through a lock."""

    def __init__(
        self,
        storage: str | Path,
        knowledge_base: str,
        config: NotifyConfig,
        channels: Sequence[Channel],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = Path(storage) / "notify"
        self._knowledge_base = knowledge_base
        self._config = config
        self._channels = channels
        self._clock = clock

    def announce(self, events: Iterable[Event], seen: Iterable[str]) -> None:
        """Note what holds now, and send what is news.

        seen: the lasting subjects that were looked at; one of them without an event is over.
        Nothing is raised when a channel fails: the message is tried again by the next call.
        """
        with self._locked() as state:
            now = self._clock()
            events = list(events)
            for event in events:
                if event.kind in self._config.events:
                    self._note(state, event, now)
            over = set(seen) - {event.subject for event in events}
            self._end(state, over, now)
            if any(pending.due <= now for pending in state.pending):
                with suppress(OSError):  # a full disk is what they should hear of
                    self._write(state)  # a process that is killed while it sends loses nothing
            self._deliver(state, now)

    def flush(self) -> int:
        """Send what is due; returns how many messages still wait."""
        waiting = self._read().pending
        if all(pending.due > self._clock() for pending in waiting):
            return len(waiting)
        with self._locked() as state:
            self._deliver(state, self._clock())
            return len(state.pending)

    def waiting(self) -> int:
        """Messages that no receiver has taken yet, or that wait for the quiet time to end."""
        return len(self._read().pending)

    # -- deciding ----------------------------------------------------------------------------------

    def _note(self, state: _State, event: Event, now: float) -> None:
        told = state.subjects.get(event.subject)
        fresh = told is None or told.state != event.state
        sent = None if told is None else told.sent
        old = sent is not None and now - sent >= self._config.repeat_hours * 3600
        if not fresh and not old:
            return
        state.subjects[event.subject] = _Told(event.state, event.title, event.lasting, now)
        self._put(state, event, now)

    def _end(self, state: _State, over: set[str], now: float) -> None:
        """Forget what is over; say so when it had been told."""
        titles = []
        for subject in sorted(over & set(state.subjects)):
            told = state.subjects.pop(subject)
            waiting = [p for p in state.pending if p.message.event.subject == subject]
            unsent = [p for p in waiting if not p.done]
            state.pending = [p for p in state.pending if p not in unsent]
            if told.lasting and not unsent:
                titles.append(told.title)
        if titles and "resolved" in self._config.events:
            text = titles[0] if len(titles) == 1 else f"{len(titles)} alerts"
            event = Event(
                "resolved",
                "resolved",
                digest_of(*titles),
                f"resolved: {text}",
                lines=tuple(titles) if len(titles) > 1 else (),
                lasting=False,
            )
            self._put(state, event, now)

    def _put(self, state: _State, event: Event, now: float) -> None:
        """Into the outbox, in the place of an older one on the same subject."""
        quiet = self._config.quiet_minutes * 60
        due = max(now, state.last.get(event.subject, -quiet) + quiet)
        repeats, since = 0, now
        for held in [p for p in state.pending if p.message.event.subject == event.subject]:
            repeats, since = held.repeats + 1, held.since
            state.pending.remove(held)
        if repeats:
            began = datetime.fromtimestamp(since, UTC).strftime("%H:%M")
            note = f"and {repeats} more like this since {began} UTC"
            event = replace(event, lines=(*event.lines, note))
        at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        name = digest_of(self._knowledge_base, event.subject, event.state, at)
        message = Message(name, self._knowledge_base, event, at)
        state.pending.append(Pending(message, due, since=since, repeats=repeats))

    # -- doing ------------------------------------------------------------

    def _deliver(self, state: _State, now: float) -> None:
        down: set[str] = set()  # asked once, however many messages wait: each may take seconds
        for pending in [p for p in state.pending if p.due <= now]:
            if self._sent(pending, down):
                state.pending.remove(pending)
                state.last[pending.message.event.subject] = now
            elif now - pending.since > _GIVE_UP:
                log.error("given up after %d tries: %s", pending.attempts, pending.message.title)
                state.pending.remove(pending)
            else:
                pause = min(_FIRST_PAUSE * 2 ** (pending.attempts - 1), _LONGEST_PAUSE)
                pending.due = now + pause

    def _sent(self, pending: Pending, down: set[str]) -> bool:
        """Whether every channel has it, or will never take it. down: those to leave alone."""
        pending.attempts += 1
        for channel in self._channels:
            if channel.name in pending.done or channel.name in down:
                continue
            try:
                channel.send(pending.message)
            except Undelivered as error:
                log.warning("not told: %s (%s)", pending.message.title, error)
                if error.passing:
                    down.add(channel.name)
                    continue
            except Exception:  # a mistake of ours: the message waits, is counted and tried again
                log.exception("not told by %s: %s", channel.name, pending.message.title)
                down.add(channel.name)
                continue
            pending.done.append(channel.name)
        return down.isdisjoint({c.name for c in self._channels} - set(pending.done))

    # -- on disk ------------------------------------------------------------

    def _locked(self) -> "_Locked":
        return _Locked(self)

    def _read(self) -> _State:
        try:
            data = json.loads((self._root / "state.json").read_bytes())
            return _State(
                {subject: _Told(**told) for subject, told in data["subjects"].items()},
                data["last"],
                [_pending(row) for row in data["pending"]],
            )
        except FileNotFoundError:
            return _State()
        except (ValueError, KeyError, TypeError, AttributeError):
            # Damaged, or of another version of the software: one repeated message, no lost refresh.
            log.warning("%s: cannot be read, what was told is forgotten", self._root)
            return _State()

    def _write(self, state: _State) -> None:
        data = {
            "subjects": {subject: asdict(told) for subject, told in state.subjects.items()},
            "last": state.last,
            "pending": [asdict(p) | {"message": _as_row(p.message)} for p in state.pending],
        }
        write_atomically(self._root / "state.json", json.dumps(data, ensure_ascii=False).encode())


class _Locked:
    """The state under its lock; written back when it changed, whatever happens meanwhile."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._lock = FileLock(outbox._root / ".lock", timeout=60)

    def __enter__(self) -> _State:
        self._outbox._root.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        self._state = self._outbox._read()
        self._before = repr(self._state)
        return self._state

    def __exit__(self, *error: object) -> None:
        try:
            if repr(self._state) != self._before:
                self._outbox._write(self._state)
        finally:
            self._lock.release()


def _as_row(message: Message) -> dict[str, Any]:
    return asdict(message) | {"event": message.event.as_json()}


def _pending(row: dict[str, Any]) -> Pending:
    message = Message(**{**row["message"], "event": Event.of(row["message"]["event"])})
    return Pending(**{**row, "message": message})
