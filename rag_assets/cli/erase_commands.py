"""Commands that remove for good: forget."""

import sys
from typing import Annotated
from urllib.parse import quote

import typer

from rag_assets.cli.app import ConfigOption, DebugOption, JsonOption, command, note, print_json, say
from rag_assets.config import load_config
from rag_assets.errors import BadRequest


@command("forget")
def forget(
    uri: Annotated[str, typer.Argument(help="A document's uri or doc_id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    lift: Annotated[
        bool, typer.Option("--lift", help="Let a forgotten document (by doc_id) in again.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Erase a document everywhere, kept versions and audit log included; it does not come back."""
    from rag_assets.refresh.forget import find_document, forget_document, let_in, record_erasure
    from rag_assets.refresh.pipeline import Pipeline
    from rag_assets.refresh.scrub import Scrubber
    from rag_assets.service.audit import AuditLog

    settings = load_config(config)
    if lift:
        if not let_in(Pipeline(settings), uri):
            raise BadRequest(f"{uri}: no forgotten document has this doc_id")
        say(f"{uri} is indexed again by the next `rag-assets refresh`.")
        return
    pipeline = Pipeline(settings)
    known = find_document(pipeline, uri)
    if not yes and not as_json and sys.stdin.isatty():
        typer.confirm(f"Erase {known.doc_id} for good?", abort=True)
    erasure = forget_document(pipeline, known)
    told = Scrubber((*known.names, *map(quote, known.names), *known.chunk_ids), known.texts).told
    log = AuditLog(settings.storage, settings.service.audit)
    event = {"event": "erasure", "erasure": erasure.id, "document": erasure.document_sha256}
    erasure.removed["audit_lines"] = log.erase(told, event)
    receipt = record_erasure(pipeline, erasure)
    if as_json:
        print_json({**erasure.as_receipt(), "similar": erasure.similar, "receipt": str(receipt)})
        return
    removed = ", ".join(f"{n} {what}" for what, n in erasure.removed.items() if n)
    say(f"Erased {known.doc_id}: {removed}.")
    if erasure.versions:
        rebuilt = ", ".join(map(str, erasure.versions))
        say(f"  Versions built anew: {rebuilt}; version {erasure.live_version} is live.")
    if not erasure.comes_back:
        say("  Its source may still hold it; it is not listed again.")
        say(f"  To let it in again: rag-assets forget --lift {known.doc_id}")
    for other in erasure.similar:
        note(f"  {other} says the same, or nearly; it was not erased")
    for place in erasure.left:
        note(f"  Not reached: {place}")
    say(f"  Receipt: {receipt}")
