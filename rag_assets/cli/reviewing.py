"""Deciding on candidates for an eval set: each decision is on disk before the next is asked for."""

import signal
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rag_assets.cli.app import note, say
from rag_assets.config import KnowledgeBaseConfig
from rag_assets.errors import BadRequest, ConfigError

if TYPE_CHECKING:
    from rag_assets.evaluation.candidates import Candidate

_CHOICES = "[a]ccept [e]dit [d]ocuments [u]nanswerable [r]eject [s]kip [q]uit"
_NEAR = 3  # documents named beside one that is not there


class _Quit(Exception):
    """A person has had enough."""


class Reviewer:
    """A person's decisions on the queue of one knowledge base, and the file that grows by them."""

    def __init__(self, settings: KnowledgeBaseConfig, eval_set: Path | None) -> None:
        from rag_assets.evaluation.queue import Queue

        self.queue = Queue(settings.storage)
        self.file = eval_set or _first_file(settings)
        self._settings = settings
        self._rejected = 0

    def accept(
        self,
        candidate_id: str,
        relevant: Sequence[str] | None,
        answer: str | None = None,
        query: str | None = None,
    ) -> dict[str, object]:
        """Add the candidate to the eval set; returns its row.

        relevant: the documents that answer it, where a person says so; [] for unanswerable.
        answer, query: a person's own words. Raises: BadRequest for documents that are not live.
        """
        from rag_assets.evaluation.eval_set import load_eval_set
        from rag_assets.evaluation.queue import accept, accepted

        decided = accepted(self._pending(candidate_id), relevant)
        if unknown := self._unknown(decided.relevant):
            raise BadRequest("; ".join(unknown))
        decided = replace(decided, answer=answer or decided.answer)
        if query and query != decided.query:
            drafted = {**decided.origin, "drafted": decided.query}
            decided = replace(decided, query=query, origin=drafted)
        held = load_eval_set(self.file) if self.file.exists() else None
        row = accept(decided, held, self.file)
        self.queue.decide(candidate_id, decided)
        return row

    def reject(self, candidate_id: str) -> None:
        """Keep the candidate as rejected, so that it is not proposed again."""
        self.queue.decide(candidate_id, replace(self._pending(candidate_id), status="rejected"))
        self._rejected += 1

    def ask(self) -> list[dict[str, object]]:
        """Go through what waits, one at a time, on a terminal; returns the rows of those accepted.

        Ends with `q`, Ctrl-C or the end of the input; what was decided until then stays decided.
        """
        rows: list[dict[str, object]] = []
        waiting = self.queue.pending()
        # Polars takes the handler of Ctrl-C over and lets a read go on after it.
        signal.siginterrupt(signal.SIGINT, True)
        try:
            for number, candidate in enumerate(waiting, start=1):
                say(f"\n{number} of {len(waiting)}")
                rows += self._decided(candidate)
        except (_Quit, typer.Abort):
            say()
        note(
            f"{len(rows)} accepted, {self._rejected} rejected; {len(self.queue.pending())} wait for"
            " `rag-assets evalset review`"
        )
        return rows

    def _decided(self, candidate: "Candidate") -> list[dict[str, object]]:
        """Ask until one candidate is decided on or skipped."""
        query = candidate.query
        show(candidate)
        while True:
            said = typer.prompt(_CHOICES, prompt_suffix=" ").strip().casefold()[:1]
            if said == "q":
                raise _Quit
            if said == "s":
                return []
            if said == "r":
                self.reject(candidate.id)
                return []
            if said == "e":
                query = typer.prompt("question", default=query).strip()
            elif said == "u":
                return [self.accept(candidate.id, [], query=query)]
            elif said == "a" and candidate.origin.get("kind") != "log":
                return [self.accept(candidate.id, None, query=query)]
            elif said in ("a", "d"):  # what came for a logged question need not answer it
                documents = self._documents(candidate)
                if documents:
                    return [self.accept(candidate.id, documents, query=query)]
            else:
                note(f"expected a, e, d, u, r, s or q, found {said!r}")

    def _documents(self, candidate: "Candidate") -> list[str]:
        """The documents that a person names, all of them live; none to go back."""
        while True:
            asked = "documents that answer it: numbers above or doc_ids (nothing: back)"
            words = self._named(typer.prompt(asked, default="", show_default=False))
            shown = {str(place): d for place, d in enumerate(candidate.relevant, start=1)}
            chosen = list(dict.fromkeys(shown.get(word, word) for word in words))
            unknown = self._unknown(chosen)
            if not unknown:
                return chosen
            for problem in unknown:
                note(problem)

    def _named(self, line: str) -> list[str]:
        """The words of a line; a live document's name may hold spaces and commas."""
        for parts in ([line], line.split(",")):
            named = [part.strip() for part in parts]
            if all(part.isdecimal() or part in self._live for part in named):
                return named
        return line.replace(",", " ").split()

    def _unknown(self, doc_ids: Sequence[str]) -> list[str]:
        """What is wrong with documents that the live version does not hold."""
        from difflib import get_close_matches

        return [
            f"{doc_id}: the live version holds no such document"
            + (f"; there is {', '.join(near)}" if near else "")
            for doc_id in doc_ids
            if doc_id not in self._live
            for near in [get_close_matches(doc_id, self._live, _NEAR)]
        ]

    @cached_property
    def _live(self) -> frozenset[str]:
        from rag_assets.index.passages import PassageStore
        from rag_assets.index.versions import Versions

        versions = Versions(self._settings.storage)
        directory = versions.directory(versions.live().version)
        with closing(PassageStore.open(directory)) as passages:
            return frozenset(passages.document_ids())

    def _pending(self, candidate_id: str) -> "Candidate":
        for candidate in self.queue.pending():
            if candidate.id == candidate_id:
                return candidate
        raise BadRequest(
            f"{candidate_id}: no pending candidate has this id; `rag-assets evalset list` shows"
            " those that wait"
        )


def show(candidate: "Candidate") -> None:
    """A candidate for people; documents are numbered."""
    say(f"{candidate.id}  {candidate.query}")
    label = "came" if candidate.origin.get("kind") == "log" else "expects"
    say(f"          {label}: {_numbered(candidate.relevant) or 'nothing'}")
    for passage in candidate.passages:
        say(f"          passage: {passage}")
    if candidate.answer:
        say(f"          answer: {candidate.answer}")
    told = {k: v for k, v in candidate.origin.items() if k in ("why", "author", "asked_at")}
    say(f"          {', '.join(f'{name} {value}' for name, value in told.items())}")


def _numbered(documents: Sequence[str]) -> str:
    if len(documents) < 2:
        return "".join(documents)
    return "  ".join(f"{place}) {doc_id}" for place, doc_id in enumerate(documents, start=1))


def _first_file(settings: KnowledgeBaseConfig) -> Path:
    for entry in settings.evaluation.eval_sets:
        if entry.format == "jsonl":
            return Path(entry.path)
    raise ConfigError(
        f"{settings.path}: evaluation.sets names no .jsonl file to add to; name one with --set PATH"
    )
