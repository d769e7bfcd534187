"""Commands of the HTTP service: serve, mcp, keys, audit."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rag_assets.cli.app import (
    ConfigOption,
    DebugOption,
    JsonOption,
    announce,
    app,
    command,
    note,
    panel,
    print_json,
    say,
)
from rag_assets.config import load_config
from rag_assets.errors import ConfigError, StorageError

keys_app = typer.Typer(help="API keys of the HTTP service.", no_args_is_help=True)
audit_app = typer.Typer(help="The audit log of the HTTP service.", no_args_is_help=True)
app.add_typer(keys_app, name="keys", rich_help_panel=panel("keys"))
app.add_typer(audit_app, name="audit", rich_help_panel=panel("audit"))

AlsoOption = Annotated[
    list[Path] | None,
    typer.Option("--also", help="Another knowledge_base.yaml to serve beside; repeatable."),
]


@contextmanager
def _needs_service() -> Iterator[None]:
    """Say what to install when a library of the service is missing."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"this command needs {error.name}; install it with pip install 'rag-assets[serve]'"
        ) from error


@command("serve")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8080,
    workers: Annotated[int, typer.Option(help="Processes.", min=1, max=64)] = 1,
    also: AlsoOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """The HTTP service: search, answers, chat, MCP and a page."""
    paths = [load_config(config).path, *(also or ())]
    with _needs_service():
        from rag_assets.service.server import run
    told = partial(announce, "Serving", as_json=as_json)
    run(paths, told, host=host, port=port, workers=workers)


@command("mcp")
def mcp(
    also: AlsoOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """The MCP server on stdin and stdout, for agents that start it themselves.

    What it writes there is JSON-RPC in any case; with --json, a mistake before it starts is too.
    """
    paths = [load_config(config).path, *(also or ())]
    with _needs_service():
        from rag_assets.service.stdio import run_stdio
    run_stdio(paths)


@command("create", parent=keys_app)
def create_key(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    groups: Annotated[
        str, typer.Option(help="Groups whose documents it may read, a,b; '*' is all of them.")
    ] = "",
    tenant: Annotated[
        str | None, typer.Option(help="Only documents whose metadata `tenant` is this, or '*'.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="May push and delete documents.")] = False,
    days: Annotated[int | None, typer.Option(min=1, help="Until it expires.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    requests_per_day: Annotated[int | None, typer.Option(min=1)] = None,
    usd_per_day: Annotated[float | None, typer.Option(min=0.000001)] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make an API key and print it: it is kept nowhere and cannot be shown again."""
    from rag_assets.service.keys import KeyStore
    from rag_assets.service.principals import Allowance

    key, secret = KeyStore.at(load_config(config).storage).create(
        name,
        groups=[group.strip() for group in groups.split(",") if group.strip()],
        tenant=tenant,
        may_write=write,
        days=days,
        allowance=Allowance(requests_per_minute, requests_per_day, usd_per_day),
    )
    if as_json:
        print_json({"id": key.id, "name": key.name, "key": secret, "expires_at": key.expires_at})
        return
    say(secret)
    note("Keep it now: only its hash is stored.")


@command("list", parent=keys_app)
def list_keys(
    config: ConfigOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Every key with its state and what it may do."""
    from rag_assets.service.keys import KeyStore

    keys = KeyStore.at(load_config(config).storage).all_keys()
    now = datetime.now(UTC)
    if as_json:
        rows = [
            {
                "id": key.id,
                "name": key.name,
                "state": key.state(now),
                "groups": key.groups,
                "tenant": key.tenant,
                "may_write": key.may_write,
                "created_at": key.created_at,
                "expires_at": key.expires_at,
                "revoked_at": key.revoked_at,
            }
            for key in keys
        ]
        print_json({"keys": rows})
        return
    if not keys:
        say("No key yet; the service answers this machine only.")
    for key in keys:
        groups = "every group" if key.groups is None else ", ".join(["everyone", *key.groups])
        tenant = f", tenant {key.tenant}" if key.tenant else ""
        may = ", may write" if key.may_write else ""
        say(f"{key.id}  {key.state(now):<8} {key.name}: {groups}{tenant}{may}")


@command("revoke", parent=keys_app)
def revoke_key(
    key: Annotated[str, typer.Argument(help="The id or name of a key.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """End a key at once; running services notice with their next request."""
    from rag_assets.service.keys import KeyStore

    ended = KeyStore.at(load_config(config).storage).revoke(key)
    if as_json:
        print_json({"id": ended.id, "name": ended.name, "revoked_at": ended.revoked_at})
    else:
        say(f"Key {ended.id} ({ended.name}) is revoked.")


@command("verify", parent=audit_app)
def verify_audit(
    config: ConfigOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Follow the audit log's chain of hashes; exit status 1 where it is broken."""
    from rag_assets.service.audit import AuditLog

    settings = load_config(config)
    verdict = AuditLog(settings.storage, settings.service.audit).verify()
    if as_json:
        print_json(
            {
                "intact": verdict.problem is None,
                "files": verdict.files,
                "lines": verdict.lines,
                "problem": verdict.problem,
            }
        )
    elif verdict.problem is None:
        say(f"Intact: {verdict.lines} lines in {verdict.files} files.")
    if verdict.problem is not None:
        raise StorageError(verdict.problem) if not as_json else typer.Exit(StorageError.exit_code)
