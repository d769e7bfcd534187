"""`rag-assets dead-letters`: messages and rows that a source could not take in."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from rag_assets.cli.app import ConfigOption, DebugOption, JsonOption, command, print_json, say
from rag_assets.config import load_config
from rag_assets.errors import ConfigError

_SHOWN = 500  # characters of a message


class LetterAction(StrEnum):
    """What to do with dead letters."""

    LIST = "list"
    RETRY = "retry"
    DROP = "drop"


@command("dead-letters")
def letters(
    action: Annotated[LetterAction, typer.Argument()] = LetterAction.LIST,
    name: Annotated[str | None, typer.Argument(help="Only the one of this name.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="Only this source.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Messages and rows that could not be taken in: list, try again, or let go of them."""
    from rag_assets.sources.dead_letters import dead_letters, kept_of, try_again

    loaded = load_config(config)
    rows: list[dict[str, Any]] = []
    for origin, letter in dead_letters(loaded):
        if source not in (None, origin) or name not in (None, letter.name):
            continue
        body = None if letter.body is None else letter.body[:_SHOWN].decode("utf-8", "replace")
        row = {"source": origin, "name": letter.name, "at": letter.at, "reason": letter.reason}
        rows.append({**row, "body": body, "settled": False})
        if action is LetterAction.RETRY:
            why = try_again(loaded.source(origin), letter)
            rows[-1] |= {"settled": why is None, "reason": why or letter.reason}
        elif action is LetterAction.DROP:
            kept_of(loaded.source(origin)).settle(letter.name)
            rows[-1]["settled"] = True
    if name is not None and not rows:
        raise ConfigError(f"{name}: no dead letter of this name; see `rag-assets dead-letters`")
    if as_json:
        print_json({"dead_letters": rows})
        return
    for row in rows:
        state = "" if not row["settled"] else f"{action.value}: "
        say(f"{state}{row['source']} {row['name']} ({row['at'][:19]}): {row['reason']}")
        if row["body"] and not row["settled"]:
            say(f"  {row['body']}")
    if not rows:
        say("There are no dead letters.")
    elif action is LetterAction.RETRY:
        done = sum(row["settled"] for row in rows)
        say(f"{done} of {len(rows)} taken in; `rag-assets refresh` brings them to the index.")
