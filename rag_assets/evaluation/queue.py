"""The queue of candidates that wait for a person: a JSONL file, editable by hand.

STORAGE/evalset/queue.jsonl    one candidate a line; decided ones stay, so as not to come again
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rag_assets.errors import BadRequest, ConfigError
from rag_assets.evaluation.candidates import Candidate
from rag_assets.evaluation.eval_set import EvalSet
from rag_assets.index.versions import write_atomically

_SAME = 0.9  # cosine from which two questions are the same question
STATUSES = ("pending", "accepted", "rejected")


class Queue:
    """The candidates of one knowledge base."""

    def __init__(self, storage: str | Path) -> None:
        self.path = Path(storage) / "evalset" / "queue.jsonl"

    def all(self) -> list[Candidate]:
        """Every candidate, oldest first. Raises: ConfigError naming the line that is wrong."""
        try:
            lines = self.path.read_text(encoding="utf-8").split("\n")  # no other end is one
        except FileNotFoundError:
            return []
        return [
            self._read(number, line) for number, line in enumerate(lines, start=1) if line.strip()
        ]

    def pending(self) -> list[Candidate]:
        """Those nobody decided on yet."""
        return [candidate for candidate in self.all() if candidate.status == "pending"]

    def add(self, candidates: Sequence[Candidate]) -> None:
        """Append candidates."""
        self._write([*self.all(), *candidates])

    def decide(self, candidate_id: str, decided: Candidate) -> None:
        """Replace a candidate by what was decided on it.

        Raises: BadRequest when no pending candidate has this id.
        """
        every = self.all()
        places = [
            place
            for place, candidate in enumerate(every)
            if candidate.id == candidate_id and candidate.status == "pending"
        ]
        if not places:
            raise BadRequest(
                f"{candidate_id}: no pending candidate has this id; `rag-assets evalset list`"
                " shows those that wait"
            )
        every[places[0]] = decided
        self._write(every)

    def _write(self, candidates: Sequence[Candidate]) -> None:
        lines = [json.dumps(c.as_json(), ensure_ascii=False) + "\n" for c in candidates]
        write_atomically(self.path, "".join(lines).encode())

    def _read(self, number: int, line: str) -> Candidate:
        try:
            row = json.loads(line)
            candidate = Candidate(
                row["query"],
                tuple(row["relevant"]),
                tuple(row["passages"]),
                row["answer"],
                dict(row["origin"]),
                row["status"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self.path}:{number}: not a candidate ({error!r})") from error
        if candidate.status not in STATUSES:
            raise ConfigError(
                f"{self.path}:{number}: status: expected one of {', '.join(STATUSES)}, found"
                f" {candidate.status!r}"
            )
        return candidate


def without_repeats(
    candidates: Sequence[Candidate],
    vectors: np.ndarray,
    known: Sequence[str],
    known_vectors: np.ndarray,
) -> list[Candidate]:
    """The candidates that ask nothing a known query or an earlier candidate asks.

    vectors, known_vectors: of the queries, float32 (n, dim), L2-normalised.
    """
    texts = {" ".join(text.casefold().split()) for text in known}
    kept: list[Candidate] = []
    seen = [known_vectors] if len(known_vectors) else []
    for candidate, vector in zip(candidates, vectors, strict=True):
        text = " ".join(candidate.query.casefold().split())
        nearest = max((float((some @ vector).max()) for some in seen), default=-1.0)
        if text not in texts and nearest < _SAME:
            texts.add(text)
            seen.append(vector[None, :])
            kept.append(candidate)
    return kept


def accept(candidate: Candidate, eval_set: EvalSet | None, file: Path) -> dict[str, Any]:
    """Append an accepted candidate to an eval set's file; returns the row.

    eval_set: what the file holds so far, for ids that are not taken.
    """
    taken = {query.id for query in eval_set.queries} if eval_set else set()
    number = len(taken) + 1
    while f"q{number:03d}" in taken:
        number += 1
    row: dict[str, Any] = {
        "id": f"q{number:03d}",
        "query": candidate.query,
        "relevant": list(candidate.relevant),
    }
    if candidate.passages:
        row["passages"] = list(candidate.passages)
    if candidate.answer:
        row["answer"] = candidate.answer
    row["tags"] = ["unanswerable"] if not candidate.relevant else [candidate.origin["kind"]]
    accepted_at = datetime.now(UTC).isoformat(timespec="seconds")
    row["origin"] = {**candidate.origin, "candidate": candidate.id, "accepted_at": accepted_at}
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    gap = "" if not before or before.endswith("\n") else "\n"
    text = before + gap + json.dumps(row, ensure_ascii=False) + "\n"
    write_atomically(file, text.encode())
    return row


def accepted(candidate: Candidate, relevant: Sequence[str] | None) -> Candidate:
    """The candidate as accepted; relevant: documents a person named instead, [] for unanswerable.

    Raises: BadRequest when nothing says which documents answer a logged question.
    """
    if relevant is None and candidate.origin.get("kind") == "log":
        raise BadRequest(
            f"{candidate.id}: a person must say what answers a logged question: name the documents"
            " with --relevant, or --unanswerable"
        )
    chosen = candidate.relevant if relevant is None else tuple(relevant)
    same = set(chosen) >= set(candidate.relevant)
    return replace(
        candidate,
        relevant=chosen,
        passages=candidate.passages if same else (),
        answer=candidate.answer if same else None,
        status="accepted",
    )
