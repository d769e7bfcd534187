"""Commands that look: versions, explain, quarantine, reconcile, doctor."""

from collections import Counter
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

    rows = list_versions(Pipeline.current(load_config(config)))
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

    found = explain_document(Pipeline.current(load_config(config)), uri)
    if as_json:
        print_json(found)
        return
    say(f"{found['doc_id']}: {found['state']}")
    say(f"  {found['uri']}")
    for stage, reason in found["stages"].items():
        say(f"  {stage:<10} {reason}")
    for other in found["same_text"]:
        say(f"  same text  {other['doc_id']}  {other['uri']}")
    for chunk in found["chunks"]:
        say(
            f"  chunk {chunk['ordinal']:>3} [{chunk['start']}:{chunk['end']}]"
            f" {chunk['tokens']} tokens  {' › '.join(chunk['headings'])}"
        )


@command("duplicates")
def duplicates(
    config: ConfigOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Documents that say the same, or nearly the same, as others."""
    from rag_assets.refresh.duplicates import places
    from rag_assets.refresh.pipeline import Pipeline

    groups = places(Pipeline.current(load_config(config)))
    if as_json:
        print_json({"groups": groups})
        return
    for group in groups:
        say(f"{group['text_group']}  {len(group['documents'])} documents")
        for document in group["documents"]:
            say(f"  {document['doc_id']}  {document['uri']}")
    if not groups:
        say("No two documents say the same.")


class QuarantineAction(StrEnum):
    """What to do with quarantined documents."""

    LIST = "list"
    RETRY = "retry"
    SHOW = "show"


@command("quarantine")
def quarantine(
    action: Annotated[QuarantineAction, typer.Argument()] = QuarantineAction.LIST,
    document: Annotated[str | None, typer.Argument(help="Only this doc_id or uri.")] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Only this reason, such as encrypted.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="Only this source.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Documents that could not be processed: list them, show all of them, or try them again."""
    from rag_assets.refresh.pipeline import Pipeline
    from rag_assets.refresh.quarantine import quarantined, retry_quarantined

    pipeline = Pipeline.current(load_config(config))
    rows = [
        row
        for row in quarantined(pipeline)
        if document in (None, row["doc_id"], row["uri"])
        and reason in (None, row["reason"])
        and source in (None, row["source"])
    ]
    if document is not None and not rows:
        raise ConfigError(f"{document}: not in quarantine; see `rag-assets quarantine list`")
    retry = action is QuarantineAction.RETRY
    if retry:
        with pipeline.refreshing():
            retry_quarantined(pipeline, [row["doc_id"] for row in rows])
    if as_json:
        print_json({"documents": rows, "retried": retry})
        return
    for row in rows:
        _say_quarantined(row, whole=action is QuarantineAction.SHOW)
    if retry:
        say(f"{len(rows)} documents will be tried again by the next `rag-assets refresh`.")
    elif not rows:
        say("Nothing is in quarantine.")
    else:
        counts = Counter(row["reason"] for row in rows).most_common()
        say(f"{len(rows)} documents: {', '.join(f'{n} {name}' for name, n in counts)}")


def _say_quarantined(row: dict[str, Any], *, whole: bool) -> None:
    say(f"{row['doc_id']}: {row['problem']}")
    if not whole:
        return
    from rag_assets.refresh.quarantine import advice

    for name in ("uri", "media_type", "size", "seconds", "modified_at", "content_hash"):
        if row[name] is not None:
            say(f"  {name:<13} {row[name]}")
    say(f"  {'what to do':<13} {advice(row['reason'])}")


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
