"""The application object, options that every command takes, and errors as exit statuses."""

import json
import logging
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from typer.core import TyperGroup

from rag_assets.errors import RagError

P = ParamSpec("P")

_PANELS = {
    "Build": ("init", "refresh", "watch", "versions", "promote", "rollback"),
    "Ask": ("search", "ask", "serve", "mcp"),
    "Measure": ("evaluate", "drift", "sweep", "evalset", "canary", "instruct-dataset"),
    "Look inside": ("doctor", "explain", "quarantine", "dead-letters", "duplicates", "reconcile"),
    "Look after": (
        *("costs", "upkeep", "backup", "restore", "forget", "keys", "audit"),
        *("metrics", "exporter"),
    ),
}
_ORDER = [name for names in _PANELS.values() for name in names]


class _Ordered(TyperGroup):
    """Commands in the order in which a person meets them, not in that of the files."""

    def list_commands(self, ctx: Any) -> list[str]:
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))


app = typer.Typer(
    cls=_Ordered,
    name="rag-assets",
    help="Keep a RAG knowledge base fresh, measured and safe.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="knowledge_base.yaml; default $RAG_CONFIG, then ./"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")]


def say(text: str = "") -> None:
    """A line for people, on stdout."""
    typer.echo(text)


def note(text: str) -> None:
    """A line beside the result, on stderr."""
    typer.echo(text, err=True)


def print_json(value: object) -> None:
    """The one JSON object of a command; NaN, which JSON does not know, is null."""
    typer.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False, default=str))


def announce(doing: str, url: str, names: Sequence[str], *, as_json: bool) -> None:
    """The one line of a command that serves until it is ended: where, and what."""
    told = {"url": url, "knowledge_bases": list(names)}
    print(json.dumps(told) if as_json else f"{doing} {', '.join(names)} at {url}", flush=True)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def panel(name: str) -> str | None:
    """The heading under which `--help` lists a command."""
    return next((title for title, names in _PANELS.items() if name in names), None)


def command(
    name: str, parent: typer.Typer = app, **settings: Any
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Register a command whose `RagError`s become one line on stderr and an exit status."""

    def register(function: Callable[P, None]) -> Callable[P, None]:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            debug = bool(kwargs.get("debug"))
            _set_up_logging(debug)
            try:
                function(*args, **kwargs)
            except (typer.Exit, typer.Abort):
                raise
            except RagError as error:
                if debug:
                    raise
                if kwargs.get("as_json"):
                    print_json({"error": {"type": type(error).__name__, "message": str(error)}})
                note(f"error: {error}")
                raise typer.Exit(error.exit_code) from error
            except KeyboardInterrupt:
                note("stopped")
                raise typer.Exit(130) from None
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(0) from None
            except Exception as error:
                if debug:
                    raise
                if kwargs.get("as_json"):
                    told = {"type": type(error).__name__, "message": _in_words(error)}
                    print_json({"error": told})
                note(f"error: {_in_words(error)} (run again with --debug to see where)")
                raise typer.Exit(1) from error

        title = panel(name) if parent is app else None
        parent.command(name, rich_help_panel=title, **settings)(run)
        return run

    return register


def _in_words(error: Exception) -> str:
    """An error that nobody foresaw, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return ": ".join([*([str(error.filename)] if error.filename else []), error.strerror])
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}"


def _set_up_logging(debug: bool) -> None:
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        stream=sys.stderr,
        format="%(levelname)s %(name)s: %(message)s",
    )


def run() -> None:
    """Load every command and do what the arguments say."""
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    from rag_assets.cli import (  # noqa: F401
        canary_commands,
        erase_commands,
        evalset_commands,
        evaluation_commands,
        inspect_commands,
        letters_commands,
        operations_commands,
        query_commands,
        refresh_commands,
        service_commands,
        training_commands,
    )

    app()
