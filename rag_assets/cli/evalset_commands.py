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
from rag_assets.cli.reviewing import Reviewer, show
from rag_assets.config import load_config
from rag_assets.errors import BadRequest

if TYPE_CHECKING:
    pass

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
        show(candidate)
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
        show(candidate)
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
    reviewer = Reviewer(settings, eval_set)
    if (relevant or unanswerable or answer) and len(accept or ()) != 1:
        raise BadRequest("--relevant, --unanswerable and --answer go with exactly one --accept")
    if unanswerable and answer:
        raise BadRequest("--unanswerable says that there is no --answer; give one of them")
    if as_json and not accept and not reject:
        raise BadRequest("--json asks nothing: say what to --accept or to --reject")
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
