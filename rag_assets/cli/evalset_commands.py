"""Commands that grow the eval set: propose candidates, list and review them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rag_assets.cli.app import (
    ConfigOption,
    DebugOption,
    JsonOption,
    app,
    command,
    note,
    panel,
    print_json,
    say,
)
from rag_assets.config import KnowledgeBaseConfig, load_config
from rag_assets.errors import BadRequest, ConfigError

if TYPE_CHECKING:
    from rag_assets.evaluation.candidates import Candidate

evalset_app = typer.Typer(help="Grow the eval set: drafts, and a person's yes or no.")
app.add_typer(evalset_app, name="evalset", rich_help_panel=panel("evalset"))

From = Literal["all", "chunks", "log"]
SetOption = Annotated[
    Path | None,
    typer.Option("--set", help="The .jsonl file to add to; default: the first configured one."),
]


@command("propose", parent=evalset_app)
def propose(
    count: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 20,
    origin: Annotated[From, typer.Option("--from", help="Where from.")] = "all",
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Draft candidates from questions that went badly and from chunks nobody asks about."""
    from rag_assets.refresh.growing import propose as propose_candidates
    from rag_assets.refresh.pipeline import Pipeline

    pipeline = Pipeline(load_config(config))
    found = propose_candidates(
        pipeline, count, chunks=origin != "log", questions=origin != "chunks"
    )
    if as_json:
        print_json({"candidates": [candidate.as_json() for candidate in found]})
        return
    for candidate in found:
        _show(candidate)
    note(f"{len(found)} candidates wait; decide with `rag-assets evalset review`")


@command("list", parent=evalset_app)
def list_candidates(
    config: ConfigOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """The candidates that wait for a decision."""
    from rag_assets.evaluation.queue import Queue

    waiting = Queue(load_config(config).storage).pending()
    if as_json:
        print_json({"candidates": [candidate.as_json() for candidate in waiting]})
        return
    for candidate in waiting:
        _show(candidate)
    note(f"{len(waiting)} candidates wait")


@command("review", parent=evalset_app)
def review(
    accept: Annotated[
        list[str] | None, typer.Option("--accept", help="Accept this candidate; repeatable.")
    ] = None,
    reject: Annotated[
        list[str] | None, typer.Option("--reject", help="Reject this candidate; repeatable.")
    ] = None,
    relevant: Annotated[
        list[str] | None,
        typer.Option("--relevant", help="Documents that answer the accepted one; repeatable."),
    ] = None,
    unanswerable: Annotated[
        bool, typer.Option("--unanswerable", help="The accepted one has no answer.")
    ] = False,
    answer: Annotated[
        str | None, typer.Option("--answer", help="The answer to the accepted one, in your words.")
    ] = None,
    eval_set: SetOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Accept or reject candidates: by id, or one after the other on a terminal."""
    settings = load_config(config)
    reviewer = _Reviewer(settings, eval_set)
    if (relevant or unanswerable or answer) and len(accept or ()) != 1:
        raise BadRequest("--relevant, --unanswerable and --answer go with exactly one --accept")
    if unanswerable and answer:
        raise BadRequest("--unanswerable says that there is no --answer; give one of them")
    chosen = [] if unanswerable else relevant
    rows = [reviewer.accept(candidate_id, chosen, answer) for candidate_id in accept or ()]
    for candidate_id in reject or ():
        reviewer.reject(candidate_id)
    if not accept and not reject:
        rows = reviewer.ask()
    if as_json:
        print_json({"accepted": rows, "rejected": list(reject or ()), "file": str(reviewer.file)})
        return
    for row in rows:
        say(f"{row['id']}  {row['query']}  → {reviewer.file}")


class _Reviewer:
    """Decisions, each on disk before the next is asked for."""

    def __init__(self, settings: KnowledgeBaseConfig, eval_set: Path | None) -> None:
        from rag_assets.evaluation.queue import Queue

        self.queue = Queue(settings.storage)
        self.file = eval_set or _first_file(settings)

    def accept(
        self, candidate_id: str, relevant: list[str] | None, answer: str | None = None
    ) -> dict[str, object]:
        """Add the candidate to the eval set, with a person's answer if given; returns its row."""
        from dataclasses import replace

        from rag_assets.evaluation.eval_set import load_eval_set
        from rag_assets.evaluation.queue import accept, accepted

        decided = accepted(self._pending(candidate_id), relevant)
        decided = replace(decided, answer=answer or decided.answer)
        held = load_eval_set(self.file) if self.file.exists() else None
        row = accept(decided, held, self.file)
        self.queue.decide(candidate_id, decided)
        return row

    def reject(self, candidate_id: str) -> None:
        """Keep the candidate as rejected, so that it is not proposed again."""
        from dataclasses import replace

        self.queue.decide(candidate_id, replace(self._pending(candidate_id), status="rejected"))

    def ask(self) -> list[dict[str, object]]:
        """Go through what waits, one at a time, on a terminal."""
        rows = []
        for candidate in self.queue.pending():
            _show(candidate)
            said = typer.prompt("[a]ccept, [r]eject, [u]nanswerable, [d]ocuments, [s]kip, [q]uit")
            if said == "q":
                break
            if said == "r":
                self.reject(candidate.id)
            elif said == "u":
                rows.append(self.accept(candidate.id, []))
            elif said == "d":
                documents = typer.prompt("doc_ids, separated by spaces").split()
                rows.append(self.accept(candidate.id, documents))
            elif said == "a":
                suggested = list(candidate.relevant)
                rows.append(self.accept(candidate.id, suggested))
        return rows

    def _pending(self, candidate_id: str) -> "Candidate":
        for candidate in self.queue.pending():
            if candidate.id == candidate_id:
                return candidate
        raise BadRequest(
            f"{candidate_id}: no pending candidate has this id; `rag-assets evalset list` shows"
            " those that wait"
        )


def _first_file(settings: KnowledgeBaseConfig) -> Path:
    for entry in settings.evaluation.eval_sets:
        if entry.format == "jsonl":
            return Path(entry.path)
    raise ConfigError(
        f"{settings.path}: evaluation.sets names no .jsonl file to add to; name one with --set PATH"
    )


def _show(candidate: "Candidate") -> None:
    say(f"{candidate.id}  {candidate.query}")
    label = "came" if candidate.origin.get("kind") == "log" else "expects"
    say(f"          {label}: {', '.join(candidate.relevant) or 'nothing'}")
    for passage in candidate.passages:
        say(f"          passage: {passage}")
    told = {k: v for k, v in candidate.origin.items() if k in ("why", "author", "asked_at")}
    say(f"          {', '.join(f'{name} {value}' for name, value in told.items())}")
