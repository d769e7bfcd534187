"""Commands for those who run it: metrics, exporter, costs, upkeep, backup, restore."""

import re
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_assets.cli.app import (
    ConfigOption,
    DebugOption,
    JsonOption,
    announce,
    command,
    print_json,
    say,
)
from rag_assets.config import load_config
from rag_assets.errors import ConfigError

if TYPE_CHECKING:
    from rag_assets.operations.backup import Backup

AlsoOption = Annotated[
    list[Path] | None,
    typer.Option("--also", help="Another knowledge_base.yaml to tell about; repeatable."),
]


@command("metrics")
def metrics(
    also: AlsoOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print the pipeline's metrics in Prometheus' text format."""
    configs = [load_config(config), *map(load_config, also or ())]
    try:
        from rag_assets.operations.metrics import as_json as told
        from rag_assets.operations.metrics import exposition
    except ImportError as error:
        raise _not_installed(error) from error
    if as_json:
        print_json(told(configs))
    else:
        say(exposition(configs).decode().rstrip())


@command("exporter")
def exporter(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 9464,
    also: AlsoOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Serve the pipeline's metrics to Prometheus at /metrics, from what lies on disk."""
    configs = [load_config(config), *map(load_config, also or ())]
    try:
        from rag_assets.operations.exporter import Exporter
    except ImportError as error:
        raise _not_installed(error) from error
    server = Exporter(configs, host, port)
    # The first process of a container hears no SIGTERM that it does not ask for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with suppress(KeyboardInterrupt):  # the way to end it, from the moment it says that it is up
        names = [c.name for c in configs]
        announce("Exporting", f"{server.url}/metrics", names, as_json=as_json)
        server.run()


def _not_installed(error: ImportError) -> ConfigError:
    return ConfigError(
        f"this command needs {error.name}; install it with pip install 'rag-assets[serve]'"
    )


@command("costs")
def costs(
    month: Annotated[str | None, typer.Option(help="YYYY-MM; default: this month.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """What models took and cost, by source and by key, with the budget and a forecast."""
    from rag_assets.costs.ledger import Ledger
    from rag_assets.costs.report import costs_of

    if month is not None and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month):
        raise ConfigError(f"--month {month}: expected YYYY-MM, such as 2026-11")
    settings = load_config(config)
    found = costs_of(settings.costs, Ledger(settings.storage), month)
    if as_json:
        print_json(found)
        return
    if not found["total"]["calls"] and not found["total"]["saved_calls"]:
        say(f"Nothing was asked of any model in {found['month']}.")
    for group, title in (
        ("by_kind", "What"),
        ("by_source", "Embedded for source"),
        ("by_key", "Asked by"),
        ("by_model", "Model"),
    ):
        if found[group]:
            say(f"{title:<32}{'calls':>10}{'tokens':>14}{'usd':>12}{'spared usd':>12}")
        for name, row in found[group].items():
            tokens = row["tokens"] + row["completion_tokens"]
            say(
                f"  {name:<30}{row['calls']:>10}{tokens:>14}{row['usd']:>12.4f}"
                f"{row['saved_usd']:>12.4f}"
            )
    _say_budget(found)


def _say_budget(found: dict[str, Any]) -> None:
    budget, forecast = found["budget"], found["forecast"]
    if budget["usd"] is not None:
        say(
            f"Budget: ${budget['spent']:.4f} of ${budget['usd']:g} is spent this month"
            f" ({budget['share']:.0%}), ${budget['left']:.4f} is left."
        )
    if forecast is not None:
        say(
            f"Forecast: ${forecast['usd']:.4f} by the end of the month, 95 % interval"
            f" ${forecast['low']:.4f} to ${forecast['high']:.4f}; {forecast['confidence']}"
            f" confidence, from {forecast['days']} days."
        )


@command("upkeep")
def upkeep(
    config: ConfigOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Remove what nothing needs any more, compare the live index with its manifest, send alerts."""
    from rag_assets.notify.upkeep import keep_up
    from rag_assets.refresh.pipeline import Pipeline

    found = keep_up(Pipeline(load_config(config)))
    if as_json:
        print_json(found)
        return
    for what, count in found["removed"].items():
        say(f"  {what:<20} {count} removed")
    for problem in found["problems"]:
        say(f"  damaged              {problem}")
    say(f"  messages             {found['messages_waiting']} wait to be delivered")


@command("backup")
def backup(
    target: Annotated[str, typer.Argument(help="A new file, or an fsspec URL such as s3://…")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write everything that cannot be made again into one tar file, while the service goes on."""
    from rag_assets.operations.backup import back_up

    _say_backup(back_up(load_config(config), target), f"Backed up to {target}", as_json)


@command("restore")
def restore(
    source: Annotated[str, typer.Argument(help="A file that `backup` made, or its URL.")],
    to: Annotated[
        Path | None,
        typer.Option(help="Unpack storage and configuration here, and read no configuration."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Unpack a backup into the storage of a configuration, which must be empty."""
    from rag_assets.operations import backup as archive

    if to is not None:
        _say_backup(archive.restore(source, to), f"Restored to {to}", as_json)
        return
    settings = load_config(config)
    found = archive.restore_storage(source, settings)
    _say_backup(found, f"Restored to {settings.storage}", as_json)


def _say_backup(found: "Backup", done: str, as_json: bool) -> None:
    if as_json:
        print_json(asdict(found))
        return
    live = "no live version" if found.live_version is None else f"version {found.live_version} live"
    say(
        f"{done}: {found.knowledge_base} of {found.created_at}, {live}, {found.files} files,"
        f" {found.bytes / 1e6:.1f} MB."
    )
