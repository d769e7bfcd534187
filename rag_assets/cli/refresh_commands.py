"""Commands that change a knowledge base: init, refresh, watch, rollback, demo."""

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

import typer

from rag_assets.cli.app import (
    ConfigOption,
    DebugOption,
    JsonOption,
    command,
    note,
    print_json,
    say,
)
from rag_assets.config import KnowledgeBaseConfig, load_config
from rag_assets.errors import ConfigError

_INITIAL = "knowledge_base.yaml"


@command("init")
def init(
    directory: Annotated[Path, typer.Argument(help="Where to make the knowledge base.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Name of its configuration; default knowledge_base.yaml."),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Scaffold a knowledge base: configuration, sample documents, eval set."""
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"{directory}: is a file; name a new or an empty directory")
    if directory.exists() and any(directory.iterdir()):
        raise ConfigError(f"{directory}: is not empty; name a new or an empty directory")
    name = _INITIAL if config is None else config.name
    if config not in (None, Path(name), directory / name):
        raise ConfigError(
            f"--config {config}: expected a name, such as {name}; it lies in DIRECTORY"
        )
    with as_file(files("rag_assets") / "scaffold") as template:
        shutil.copytree(template, directory, dirs_exist_ok=True)
    (directory / _INITIAL).rename(directory / name)
    made = sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())
    if as_json:
        print_json({"directory": str(directory.resolve()), "files": made})
        return
    say(f"Made {directory} with {len(made)} files. Next:")
    there = shlex.quote(str(directory))
    chosen = "" if name == _INITIAL else f"export RAG_CONFIG={shlex.quote(name)} && "
    say(f"  cd {there} && {chosen}rag-assets refresh && rag-assets ask 'How do I add a document?'")


@command("refresh")
def refresh(
    source: Annotated[
        list[str] | None, typer.Option("--source", help="Look at this source only; repeatable.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Distrust change tokens: read every document again.")
    ] = False,
    confirm_deletes: Annotated[
        bool,
        typer.Option(
            "--confirm-deletes",
            help="Deletions are meant: held ones, and those of what eval queries expect.",
        ),
    ] = False,
    accept_quarantine: Annotated[
        bool,
        typer.Option("--accept-quarantine", help="Let what cannot be processed hold nothing."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look at the sources and say what would be done.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Materialize what changed, judge the candidate, promote it if it passes."""
    settings = load_config(config)
    for name in source or ():
        settings.source(name)
    if dry_run:
        _say_plan(settings, tuple(source or ()), full, as_json)
        return
    from rag_assets.defs.execute import Refresher, dagster_instance, failure
    from rag_assets.refresh.pipeline import Options

    options = Options(
        confirm_deletes,
        full,
        tuple(source or ()),
        accept_quarantine,
        insist=True,
    )
    with dagster_instance(settings) as instance, _progress() as progress:
        receipt = Refresher(settings, instance, progress).refresh(options, full=full)
    problem = failure(receipt)
    if as_json:
        print_json(receipt)
    else:
        print_receipt(receipt)
    if problem is not None:
        note(f"error: {problem}")
        raise typer.Exit(problem.exit_code)


def _say_plan(
    settings: KnowledgeBaseConfig, sources: tuple[str, ...], full: bool, as_json: bool
) -> None:
    """What a refresh would do, and why."""
    from dataclasses import asdict

    from rag_assets.refresh.pipeline import Options, Pipeline
    from rag_assets.refresh.plan import plan_refresh

    pipeline = Pipeline.current(settings)
    options = Options(audit=full, sources=sources, insist=True)
    plan = plan_refresh(pipeline, options)
    if as_json:
        print_json(asdict(plan))
        return
    say(f"{plan.listed} documents listed, {len(plan.partitions)} partitions due")
    for reason, count in plan.reasons.items():
        say(f"  {count} {reason}")
    for why in (*plan.held.values(), *plan.errors.values()):
        say(f"  {why}")


@contextmanager
def _progress() -> Iterator[Any]:
    """A counter for each stage on a terminal; nothing anywhere else."""
    if not sys.stderr.isatty():
        yield lambda stage, done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True
    ) as bars:
        tasks: dict[str, Any] = {}

        def advance(stage: str, done: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=None)
            bars.advance(tasks[stage], done)

        yield advance


def print_receipt(receipt: dict[str, Any]) -> None:
    """The receipt for people."""
    documents, chunks = receipt["documents"], receipt["chunks"]
    embeddings = receipt["embeddings"]
    changed = any(documents[name] for name in ("added", "changed", "deleted"))
    live = receipt["live_version"]
    stays = "no version is live yet" if live is None else f"version {live} stays live"
    if receipt["promoted"]:
        say(f"Version {receipt['version']} is live ({receipt['seconds']:.1f} s).")
    elif receipt["waits"] is not None:
        version = receipt["waits"]
        say(
            f"Version {version} passed and waits beside version {receipt['live_version']}, which"
            f" stays live: rag-assets canary, rag-assets promote {version}"
        )
    elif changed or chunks["added"] or chunks["deleted"]:
        say(f"Version {receipt['version']} was built, {stays}.")
    else:
        say(f"Nothing changed; {stays} ({receipt['seconds']:.1f} s).")
    say(
        f"  documents   {documents['listed']} listed = {documents['unchanged']} unchanged"
        f" + {documents['added']} added + {documents['changed']} changed"
        f" + {documents['quarantined']} quarantined; {documents['deleted']} deleted"
        + (f", {documents['held']} held" if documents["held"] else "")
    )
    say(
        f"  chunks      {chunks['kept']} kept, {chunks['added']} added, {chunks['deleted']} deleted"
    )
    say(
        f"  embeddings  {embeddings['computed']} computed ({embeddings['tokens']} tokens,"
        f" ${embeddings['usd']:.4f}), {embeddings['reused']} reused"
    )
    for check in receipt["gate"]["checks"]:
        mark = "passed" if check["passed"] and check["decided"] else "REFUSED"
        mark = "unsure" if check["passed"] and not check["decided"] else mark
        say(f"  {mark}      {check['name']}: {check['summary']}")
    for document in receipt["quarantined"][:10]:
        say(f"  quarantined {document['doc_id']}: {document['problem']}")
    for message in receipt["errors"].values():
        say(f"  not listed  {message}")


@command("rollback")
def rollback(
    version: Annotated[int | None, typer.Argument(help="Default: the one live before.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make an earlier index version live again: one pointer write."""
    from rag_assets.index.versions import Versions
    from rag_assets.mirror import published

    settings = load_config(config)
    versions = Versions(settings.storage)
    with published(settings), versions.publishing():
        pointer = versions.rollback(version)
    if as_json:
        print_json({"live_version": pointer.version, "previous": pointer.previous})
    else:
        before = "" if pointer.previous is None else f"; it was version {pointer.previous} before"
        say(f"Version {pointer.version} is live again{before}.")


@command("watch")
def watch(
    config: ConfigOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Stay up and refresh as soon as a local source changes. Stop with Ctrl-C."""
    settings = load_config(config)
    from rag_assets.defs.execute import Refresher, dagster_instance
    from rag_assets.defs.watching import watch_sources

    with dagster_instance(settings) as instance:
        refresher = Refresher(settings, instance)
        with suppress(KeyboardInterrupt):  # the way to end it
            for receipt in watch_sources(settings, refresher):
                if as_json:
                    print_json(receipt)
                else:
                    print_receipt(receipt)


_DEMO_QUESTIONS = (
    "How many days of annual leave do employees get?",
    "How long is the probation period?",
    "How much is the learning budget per year?",
)


@command("demo", hidden=True)
def demo(config: ConfigOption = None, debug: DebugOption = False) -> None:
    """Refresh the sample knowledge base, then ask it three questions."""
    settings = load_config(config)
    from rag_assets.defs.execute import Refresher, dagster_instance, failure
    from rag_assets.refresh.pipeline import Options

    say(f"Refreshing the knowledge base {settings.name!r} through its Dagster assets …")
    with dagster_instance(settings) as instance, _progress() as progress:
        receipt = Refresher(settings, instance, progress).refresh(Options())
    print_receipt(receipt)
    problem = failure(receipt)
    if problem is not None:
        raise problem
    from rag_assets.cli.query_commands import print_answer
    from rag_assets.knowledge_base import KnowledgeBase

    with KnowledgeBase.open(settings.path) as knowledge_base:
        for question in _DEMO_QUESTIONS:
            say()
            say(f"Q: {question}")
            print_answer(knowledge_base.answer(question))
