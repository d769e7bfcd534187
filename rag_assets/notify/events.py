"""What a refresh gives to tell. Pure: a receipt and the state of sources in, events out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rag_assets.config import KnowledgeBaseConfig
from rag_assets.costs.budget import Standing
from rag_assets.notify.base import Event
from rag_assets.operations.freshness import SourceState
from rag_assets.operations.outcomes import embedded, held, refusing_checks, seconds
from rag_assets.records import digest_of

LASTING = ("refused", "held", "failed", "sources", "quarantine", "silent", "budget")
"""Subjects that a finished refresh looks at, so that one without an event is over."""

_SHOWN = 5

_ADVICE = {
    "refused": "correct the documents or the eval queries, or take back the changed settings, then"
    " refresh; `rag-assets evaluate --version {version} --compare {live}` shows every query.",
    "held": "if it is not right, mend the source: the next refresh lets go by itself.",
    "sources": "`rag-assets doctor` asks each source and says what is wrong with it.",
    "quarantine": "`rag-assets quarantine` lists them all with advice; when they are mended,"
    " `rag-assets quarantine retry` and refresh.",
    "silent": "change a document there and refresh. Not seen: `rag-assets doctor`, and look at its"
    " rights. Just quiet: raise silent_hours.",
    "warn": "`rag-assets costs` shows for whom, and where the month is heading; raise"
    " costs.budget_usd, or limit a key with usd_per_day.",
    "spent": "raise costs.budget_usd; until then refreshes that would pay are held, and answers are"
    " quoted instead of written. `rag-assets costs` shows for whom it was.",
    "failed": "`rag-assets doctor` checks models, storage and sources; `rag-assets refresh` then"
    " goes on where this one stopped.",
}


def _advised(kind: str, **named: object) -> str:
    return "What to do: " + _ADVICE[kind].format(**named)


def of_refresh(
    config: KnowledgeBaseConfig, run_id: str, parts: Mapping[str, Any]
) -> Iterator[Event]:
    """Events of one receipt: promoted, refused, held, a source that could not be listed."""
    link = _link(config, run_id)
    for event in _of_receipt(parts):
        yield replace(event, run_id=run_id, link=link)


def _of_receipt(parts: Mapping[str, Any]) -> Iterator[Event]:
    refusing = refusing_checks(parts)
    if refusing:
        yield _refused(parts, refusing)
    elif parts.get("promoted"):
        yield _promoted(parts)
    if "waits" in parts:
        yield _waiting(parts)
    if guarded := held(parts):
        yield Event(
            "held",
            "held",
            digest_of(*sorted(guarded)),
            f"a guard holds {_listed(guarded)}",
            lines=(*guarded.values(), _advised("held")),
        )
    if errors := parts.get("errors"):
        yield Event(
            "failed",
            "sources",
            digest_of(*sorted(errors)),
            f"{_listed(errors)} could not be listed; what is indexed of it stays",
            lines=(*errors.values(), _advised("sources")),
        )


def _promoted(parts: Mapping[str, Any]) -> Event:
    candidate, documents = parts.get("candidate", {}), parts.get("documents", {})
    embeddings = embedded(parts)
    spent = seconds(parts)
    facts = [
        (
            "Documents",
            f"{documents.get('added', 0)} added, {documents.get('changed', 0)} changed,"
            f" {documents.get('deleted', 0)} deleted, {documents.get('unchanged', 0)} unchanged",
        ),
        (
            "Chunks",
            f"{candidate.get('chunks_added', 0)} added, {candidate.get('chunks_deleted', 0)}"
            f" deleted, {candidate.get('chunks_kept', 0)} kept",
        ),
        (
            "Embeddings",
            f"{embeddings['computed']} computed, {embeddings['tokens']} tokens,"
            f" {max(0, candidate.get('chunks', 0) - int(embeddings['computed']))} reused",
        ),
        ("Cost", f"${embeddings['usd']:.4f}"),
        *_gate_figures(parts),
    ]
    if spent is not None:
        facts.append(("Took", f"{spent:.1f} s"))
    version = candidate.get("version")
    return Event(
        "promoted",
        "promoted",
        str(version),
        f"version {version} is live",
        tuple(facts),
        lasting=False,
    )


def _waiting(parts: Mapping[str, Any]) -> Event:
    version = parts["waits"]
    return Event(
        "held",
        "canary",
        str(version),
        f"version {version} passed its checks and answers a share of the questions",
        tuple(_gate_figures(parts)),
        (
            "Compare it with what is live: rag-assets canary",
            f"Make it live for everybody: rag-assets promote {version}",
        ),
        lasting=False,
    )


def _gate_figures(parts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(set, its metrics), as the gate measured them."""
    details = parts.get("verdict", {}).get("retrieval_quality", {}).get("details", {})
    for name, found in details.items():
        if isinstance(found, dict) and "metrics" in found:
            figures = [
                f"{metric} {value:.3f}"
                for metric, value in found["metrics"].items()
                if value is not None and metric in {"recall@1", "recall@5", "mrr@10", "ndcg@10"}
            ]
            yield f"Gate, {name}", ", ".join(figures)


def _refused(parts: Mapping[str, Any], refusing: Sequence[Mapping[str, Any]]) -> Event:
    names = sorted(check["name"] for check in refusing)
    version = parts.get("candidate", {}).get("version")
    worst = list(_worst(refusing or []))
    lines = [f"{check['name']}: {check['summary']}" for check in refusing]
    if worst:
        lines += ["Worst queries:", *worst[:_SHOWN]]
    parent = parts.get("candidate", {}).get("parent")
    lines.append(_advised("refused", version=version, live=parent if parent else "LIVE"))
    # Each new try has a new version number; what it was refused for is what makes it news.
    state = digest_of(*names, *(_rounded(check) for check in refusing))
    return Event(
        "refused",
        "refused",
        state,
        f"version {version} was refused by {_listed(names)}; the live version is unchanged",
        tuple(_gate_figures(parts)),
        tuple(lines),
    )


def _rounded(check: Mapping[str, Any]) -> str:
    value = check.get("value")
    return "" if value is None else f"{value:.2f}"


def _worst(refusing: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for check in refusing:
        for found in check.get("details", {}).values():
            for row in found.get("worst", ()) if isinstance(found, dict) else ():
                if not row.get("error") and row["found"][:1] and row["found"][0] in row["expected"]:
                    continue
                expected = ", ".join(row["expected"]) or "nothing"
                came = row.get("error") or ", ".join(row["found"][:3]) or "nothing"
                yield f"“{row['query']}” expected {expected}; came {came}"


def of_sources(
    config: KnowledgeBaseConfig,
    states: Mapping[str, SourceState],
    quarantined: Sequence[Mapping[str, Any]],
    now: float,
) -> Iterator[Event]:
    """Quarantine above its rate, and sources in which nothing changed for too long.

    quarantined: rows of doc_id and problem. now: seconds since the epoch.
    """
    rate = config.notify.quarantine_rate
    over = {
        name: state
        for name, state in states.items()
        if state.documents and state.quarantined / state.documents > rate
    }
    if over:
        shown = [row for row in quarantined if str(row["doc_id"]).split("/")[0] in over]
        yield Event(
            "quarantine",
            "quarantine",
            digest_of(*sorted(over)),
            f"more than {rate:.0%} of {_listed(over)} is in quarantine",
            tuple(
                (name, f"{state.quarantined} of {state.documents} documents")
                for name, state in over.items()
            ),
            (
                *(f"{row['doc_id']}: {row['problem']}" for row in shown[:_SHOWN]),
                _advised("quarantine"),
            ),
        )
    hours = {source.name: source.silent_hours for source in config.sources if source.silent_hours}
    silent = {
        name: (now - state.changed_at) / 3600
        for name, state in states.items()
        if name in hours
        and state.changed_at is not None
        and now - state.changed_at > hours[name] * 3600
    }
    if silent:
        yield Event(
            "silent",
            "silent",
            digest_of(*sorted(silent)),
            f"nothing changed in {_listed(silent)}",
            tuple(
                (name, f"for {waited:.1f} hours, {hours[name]:g} are usual")
                for name, waited in silent.items()
            ),
            (_advised("silent"),),
        )


def of_budget(standing: Standing) -> Iterator[Event]:
    """A monthly budget that is near its end, or at it."""
    if standing.level is None or standing.budget is None:
        return
    gone = standing.level == "spent"
    said = "is spent; nothing more is paid" if gone else f"is spent to {standing.share:.0%}"
    yield Event(
        "budget",
        "budget",
        f"{standing.month} {standing.level}",
        f"the budget of {standing.month} {said}",
        (
            ("Spent", f"${standing.spent:.4f}"),
            ("Budget", f"${standing.budget:g}"),
            ("Left", f"${standing.left or 0.0:.4f}"),
        ),
        (_advised(standing.level),),
    )


def of_failure(config: KnowledgeBaseConfig, run_id: str | None, reason: str) -> Event:
    """A refresh that ended with an error. reason: one line for people."""
    words = "".join(" " if c.isdigit() else c for c in reason)
    return Event(
        "failed",
        "failed",
        digest_of(words),
        "the refresh failed; the live version is unchanged",
        lines=(reason, _advised("failed")),
        run_id=run_id,
        link=_link(config, run_id) if run_id else None,
    )


def _link(config: KnowledgeBaseConfig, run_id: str) -> str | None:
    base = config.notify.link
    return f"{base.rstrip('/')}/runs/{run_id}" if base else None


def _listed(names: Mapping[str, object] | Sequence[str]) -> str:
    found = list(names)
    shown = ", ".join(found[:_SHOWN])
    return shown if len(found) <= _SHOWN else f"{shown} and {len(found) - _SHOWN} more"
