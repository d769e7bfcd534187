"""Answers of the service that the one who asked judged good, from its audit log.

Days are read from where the last reading ended. A day that was written anew (something was erased
from it) or is gone makes everything read again, so that what the log forgets is forgotten here.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rag_assets.index.versions import write_atomically

_REVISION = 1


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """One answer with its text. cited: number in the text, as JSON has it, to [chunk_id, quote]."""

    request_id: str
    principal: str | None
    knowledge_base: str
    question: str
    text: str
    cited: dict[str, list[str]]
    judged_at: str


def judged_answers(audit_log: Path, remembered: Path) -> list[JudgedAnswer]:
    """The answers whose last judgement is `up`, oldest judgement first.

    A judgement counts only from the principal who asked. Left out are answers that abstained, were
    quoted because a model failed, or have a sentence or citation that does not hold.
    """
    days = sorted(audit_log.glob("????-??-??.jsonl"))
    known = _read_state(remembered, days)
    for day in days:
        for line in _new_lines(day, known):
            said = line.get("feedback")
            if isinstance(said, dict) and "request_id" in said:
                known["ratings"][str(said["request_id"])] = [
                    said.get("rating"),
                    line.get("principal"),
                    line.get("at", ""),
                ]
    good = {
        request_id: (principal, at)
        for request_id, (rating, principal, at) in known["ratings"].items()
        if rating == "up"
    }
    _find_answers(days, good, known["answers"])
    remembered.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(remembered, json.dumps(known).encode())
    answers = [JudgedAnswer(**one) for key, one in known["answers"].items() if one and key in good]
    return sorted(answers, key=lambda answer: (answer.judged_at, answer.request_id))


def _read_state(remembered: Path, days: list[Path]) -> dict[str, Any]:
    """days: name to [inode, bytes read]; ratings and answers by request. Empty where any of it
    does not fit the files any more."""
    try:
        known = dict(json.loads(remembered.read_bytes()))
        held = {day.name: day.stat() for day in days}
        fits = known["revision"] == _REVISION and all(
            name in held and held[name].st_ino == inode and held[name].st_size >= size
            for name, (inode, size) in known["days"].items()
        )
        if fits:
            return known
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    return {"revision": _REVISION, "days": {}, "ratings": {}, "answers": {}}


def _new_lines(day: Path, known: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Lines behind what was read before; a line that is still being written waits."""
    inode, start = known["days"].get(day.name, (day.stat().st_ino, 0))
    with day.open("rb") as stream:
        stream.seek(start)
        data = stream.read()
    whole = data.rfind(b"\n") + 1
    known["days"][day.name] = [inode, start + whole]
    yield from _parsed(data[:whole], b'"feedback"')


def _find_answers(
    days: list[Path], good: dict[str, tuple[str | None, str]], found: dict[str, Any]
) -> None:
    """Look for the answers of judgements that are new, newest day first; one that cannot be used
    is remembered as None."""
    wanted = set(good) - set(found)
    for day in reversed(days):
        if not wanted:
            return
        for line in _parsed(day.read_bytes(), b'"answer"'):
            request_id = str(line.get("request_id"))
            if request_id in wanted and "feedback" not in line:
                principal, at = good[request_id]
                if line.get("principal") == principal:
                    found[request_id] = _usable(line, at)
        wanted -= set(found)
    found.update(dict.fromkeys(wanted))


def _usable(line: dict[str, Any], judged_at: str) -> dict[str, Any] | None:
    answer, verdicts = line.get("answer"), line.get("verdicts") or {}
    if not isinstance(answer, dict) or line.get("outcome") != "completed":
        return None
    wrong = ("abstained", "degraded", "unproven_claims", "dropped_citations")
    if any(verdicts.get(name) for name in wrong) or not answer.get("cited"):
        return None
    return asdict(
        JudgedAnswer(
            str(line["request_id"]),
            line.get("principal"),
            str(line.get("knowledge_base")),
            str(answer["question"]),
            str(answer["text"]),
            dict(answer["cited"]),
            judged_at,
        )
    )


def _parsed(data: bytes, with_: bytes) -> Iterator[dict[str, Any]]:
    for raw in data.split(b"\n"):
        if with_ in raw:
            try:
                line = json.loads(raw)
            except ValueError:
                continue
            if isinstance(line, dict):
                yield line
