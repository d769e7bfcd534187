"""Commands that look: versions, explain, quarantine, reconcile, doctor."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from rag_assets.cli.app import ConfigOption, DebugOption, JsonOption, command, print_json, say
from rag_assets.config import load_config
from rag_assets.errors import ConfigError, StorageError


@command("versions")
def versions(
    config: ConfigOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Index versions with their state and metrics."""
    from rag_assets.refresh.inspection import list_versions
    from rag_assets.refresh.pipeline import Pipeline

    rows = list_versions(Pipeline(load_config(config)))
    if as_json:
        print_json({"versions": rows})
        return
    if not rows:
        say("No index version yet; run `rag-assets refresh`.")
    for row in rows:
        metrics = ", ".join(
            f"{name} {found['metrics'].get('recall@5') or 0:.3f} recall@5"
            for name, found in row["metrics"].items()
        )
        say(
            f"{row['version']:>6}  {row['state']:<10} {row['created_at'][:19]}"
            f"  {row['documents']} documents, {row['chunks']} chunks"
            + (f"  {metrics}" if metrics else "")
        )


@command("explain")
def explain(
    uri: Annotated[str, typer.Argument(help="A document's uri or doc_id.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Why a document was rebuilt or reused, its chunks, its state."""
    from rag_assets.refresh.inspection import explain_document
    from rag_assets.refresh.pipeline import Pipeline

    found = explain_document(Pipeline(load_config(config)), uri)
    if as_json:
        print_json(found)
        return
    say(f"{found['doc_id']}: {found['state']}")
    say(f"  {found['uri']}")
    for stage, reason in found["stages"].items():
        say(f"  {stage:<10} {reason}")
    for chunk in found["chunks"]:
        say(
            f"  chunk {chunk['ordinal']:>3} [{chunk['start']}:{chunk['end']}]"
            f" {chunk['tokens']} tokens  {' › '.join(chunk['headings'])}"
        )


class QuarantineAction(StrEnum):
    """What to do with quarantined documents."""

    LIST = "list"
    RETRY = "retry"
    SHOW = "show"


@command("quarantine")
def quarantine(
    action: Annotated[QuarantineAction, typer.Argument()] = QuarantineAction.LIST,
    document: Annotated[str | None, typer.Argument(help="Only this doc_id or uri.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Documents that could not be processed, with the reason."""
    from rag_assets.refresh.inspection import forget_quarantine
    from rag_assets.refresh.judge import quarantine as quarantined
    from rag_assets.refresh.pipeline import Pipeline

    pipeline = Pipeline(load_config(config))
    rows = [r for r in quarantined(pipeline) if document in (None, r["doc_id"], r["uri"])]
    if document is not None and not rows:
        raise ConfigError(f"{document}: not in quarantine; see `rag-assets quarantine list`")
    if action is QuarantineAction.RETRY:
        with pipeline.refreshing():
            forget_quarantine(pipeline, [row["doc_id"] for row in rows])
    if as_json:
        print_json({"documents": rows, "retried": action is QuarantineAction.RETRY})
        return
    for row in rows:
        say(f"{row['doc_id']}: {row['problem']}")
    if action is QuarantineAction.RETRY:
        say(f"{len(rows)} documents will be tried again by the next `rag-assets refresh`.")
    elif not rows:
        say("Nothing is in quarantine.")


@command("reconcile")
def reconcile(
    repair: Annotated[
        bool, typer.Option("--repair", help="Rebuild a damaged live version, without the model.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare the live version's manifest with what its stores really hold."""
    from rag_assets.refresh.pipeline import Pipeline
    from rag_assets.refresh.repair import reconcile_live

    outcome = reconcile_live(Pipeline(load_config(config)), repair=repair)
    if as_json:
        print_json(outcome)
    else:
        for problem in outcome["problems"]:
            say(f"  {problem}")
        say(outcome["summary"])
    if outcome["problems"] and not outcome["repaired"]:
        raise typer.Exit(StorageError.exit_code)


@command("doctor")
def doctor(
    config: ConfigOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Check models, stores, providers and credentials; one line each, with the fix."""
    from rag_assets.refresh.doctor import examine

    findings: list[dict[str, Any]] = examine(load_config(config))
    if as_json:
        print_json({"healthy": all(f["ok"] for f in findings), "checks": findings})
    else:
        for finding in findings:
            say(f"{'ok  ' if finding['ok'] else 'FIX '} {finding['name']}: {finding['summary']}")
    if not all(finding["ok"] for finding in findings):
        raise typer.Exit(1)
