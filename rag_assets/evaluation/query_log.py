"""The questions people asked, read from the service's audit log.

    STORAGE/service/audit/2026-11-20.jsonl    one JSON line a request, the newest day last

Only lines that keep the question's text can be used (`service.audit.questions: text`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class LoggedQuestion:
    """One question and what became of it.

    found: passages that a search brought. confidence, abstained: None where no answer was asked
    for. rating, comment: what a reader judged last, `up` or `down`.
    """

    text: str
    at: str
    found: int
    confidence: float | None = None
    abstained: bool | None = None
    rating: str | None = None
    comment: str | None = None

    def failed(self, least_confidence: float) -> bool:
        """Whether a reader or the figures say so: nothing found or answered, or unsurely."""
        if self.rating is not None:
            return self.rating == "down"
        unsure = self.confidence is not None and self.confidence < least_confidence
        return self.found == 0 or bool(self.abstained) or unsure


def logged_questions(
    storage: str | Path, knowledge_base: str, most: int = 2000
) -> list[LoggedQuestion]:
    """The last questions to a knowledge base, newest first, each text once.

    A judgement stands after the question it is about, and is joined to it by the request's id. A
    day that cannot be read, and lines that are torn or of other kinds, are passed over.
    """
    seen: dict[str, LoggedQuestion] = {}
    judged: dict[str, dict[str, Any]] = {}
    for row in _rows(Path(storage) / "service" / "audit"):
        feedback = row.get("feedback")
        if isinstance(feedback, dict) and "request_id" in feedback:
            judged.setdefault(str(feedback["request_id"]), feedback)
        text = row.get("question")
        if isinstance(text, str) and text.strip() and row.get("knowledge_base") == knowledge_base:
            verdicts = row.get("verdicts") or {}
            said = judged.get(str(row.get("request_id")), {})
            seen.setdefault(
                " ".join(text.split()),
                LoggedQuestion(
                    " ".join(text.split()),
                    str(row.get("at", "")),
                    len(row.get("chunk_ids") or ()),
                    verdicts.get("confidence"),
                    verdicts.get("abstained"),
                    said.get("rating"),
                    said.get("comment"),
                ),
            )
            if len(seen) == most:
                break
    return list(seen.values())


def _rows(directory: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(directory.glob("????-??-??.jsonl"), reverse=True):
        try:
            lines = file.read_bytes().split(b"\n")
        except OSError:
            continue
        for line in reversed(lines):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row
