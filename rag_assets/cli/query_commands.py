"""Commands that ask a knowledge base: search, ask."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_assets.cli.app import ConfigOption, DebugOption, JsonOption, command, note, print_json, say
from rag_assets.config import load_config
from rag_assets.errors import BadRequest, LlmError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rag_assets.answering.base import Answer, AnswerPart
    from rag_assets.retrieval.base import Hit

KOption = Annotated[int | None, typer.Option("-k", min=1, max=1000, help="How many passages.")]
WhereOption = Annotated[
    str | None, typer.Option("--where", help="Filter over metadata, JSON in Chroma's language.")
]
GroupsOption = Annotated[
    str | None, typer.Option("--groups", help="Groups of the asker, a,b; default: no restriction.")
]
VersionOption = Annotated[int | None, typer.Option("--version", help="Default: the live one.")]
WeightsOption = Annotated[
    str | None, typer.Option("--weights", help="Of single signals, e.g. rerank=0.5,recency=1.")
]
CategoryOption = Annotated[
    str | None, typer.Option("--category", help="Prefer documents of this category.")
]
ModeOption = Annotated[str | None, typer.Option("--mode", help="hybrid, dense or lexical.")]
ExplainOption = Annotated[bool, typer.Option("--explain", help="Show the parts of each score.")]


def _where(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        where = json.loads(text)
    except ValueError as error:
        raise BadRequest(
            f'--where: not JSON ({error}); expected e.g. \'{{"team": "hr"}}\''
        ) from error
    if not isinstance(where, dict):
        raise BadRequest(f"--where: expected a JSON object, found {type(where).__name__}")
    return where


def _weights(text: str | None) -> dict[str, float] | None:
    """`rerank=0.5,recency=1` by name. Raises: BadRequest."""
    if text is None:
        return None
    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError as error:
            raise BadRequest(
                f"--weights {part!r}: expected SIGNAL=NUMBER, e.g. rerank=0.5,recency=1"
            ) from error
    return found


def _groups(text: str | None) -> list[str] | None:
    return None if text is None else [group.strip() for group in text.split(",") if group.strip()]


def _place(heading: Sequence[str], page: int | None) -> str:
    """Where in a document: its headings, and the page."""
    return " › ".join((*heading, *([f"page {page}"] if page is not None else [])))


def _typed(text: str) -> str:
    """What was typed, as UTF-8, also where the locale says that it is something else."""
    return os.fsencode(text).decode("utf-8", "replace") if not text.isascii() else text


@command("search")
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: KOption = None,
    where: WhereOption = None,
    groups: GroupsOption = None,
    version: VersionOption = None,
    explain: ExplainOption = False,
    mode: ModeOption = None,
    weights: WeightsOption = None,
    category: CategoryOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Ranked passages with their sources."""
    from rag_assets.knowledge_base import KnowledgeBase

    with KnowledgeBase.open(load_config(config).path) as knowledge_base:
        found = knowledge_base.search(
            _typed(query),
            k=k,
            where=_where(where),
            groups=_groups(groups),
            version=version,
            mode=mode,  # type: ignore[arg-type]
            explain=explain,
            weights=_weights(weights),
            category=category,
        )
    if as_json:
        hits = [_hit_as_json(hit, explain=explain) for hit in found]
        print_json({"index_version": found.index_version, "hits": hits})
        return
    for hit in found:
        path = _place(hit.heading, hit.page)
        say(f"{hit.rank:>2}. {hit.score:.3f}  {hit.title}" + (f"  ({path})" if path else ""))
        say(f"    {hit.uri} [{hit.start}:{hit.end}]")
        for other in hit.also_at:
            say(f"    also {other.uri} [{other.start}:{other.end}]")
        if explain:
            say(f"    {_score_in_parts(hit)}")
        say(f"    {' '.join(hit.text.split())[:200]}")
    note(f"index version {found.index_version}, {len(found)} passages")


def _score_in_parts(hit: "Hit") -> str:
    """What each signal added to the score, with what it measured in brackets."""
    return " ".join(
        f"{part:+.3f} {name}" + (f" ({hit.signals[name]:.3f})" if name in hit.signals else "")
        for name, part in hit.parts.items()
    )


def _hit_as_json(hit: "Hit", *, explain: bool) -> dict[str, Any]:
    names = [
        "rank",
        "score",
        "uri",
        "doc_id",
        "chunk_id",
        "source",
        "title",
        "heading",
        "start",
        "end",
        "page",
        "text",
        "metadata",
    ]
    found = {name: getattr(hit, name) for name in names}
    found["heading"] = list(hit.heading)
    found["metadata"] = dict(hit.metadata)
    if hit.also_at:
        found["also_at"] = [asdict(other) for other in hit.also_at]
    if explain:
        found |= {"signals": dict(hit.signals), "parts": dict(hit.parts)}
    return found


@command("ask")
def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    stream: Annotated[bool, typer.Option("--stream", help="Print as it is written.")] = False,
    k: KOption = None,
    where: WhereOption = None,
    groups: GroupsOption = None,
    version: VersionOption = None,
    explain: ExplainOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """An answer with citations."""
    from rag_assets.knowledge_base import KnowledgeBase

    options: dict[str, Any] = {
        "k": k,
        "where": _where(where),
        "groups": _groups(groups),
        "version": version,
    }
    question = _typed(question)
    with KnowledgeBase.open(load_config(config).path) as knowledge_base:
        if stream and not as_json:
            reply = _stream(knowledge_base.answer(question, stream=True, **options))
            print_sources(reply)
            return
        reply = knowledge_base.answer(question, **options)
    if as_json:
        print_json(reply.as_json())
    else:
        print_answer(reply)


def _stream(parts: "Iterable[AnswerPart]") -> "Answer":
    """Print the parts of an answer as they come; the last one carries the whole."""
    for part in parts:
        typer.echo(part.text, nl=False)
        if part.answer is not None:
            say()
            return part.answer
    raise LlmError("the answer ended before it was complete; ask again")


def print_answer(reply: "Answer") -> None:
    """An answer and its sources, for people."""
    say(reply.text)
    print_sources(reply)


def print_sources(reply: "Answer") -> None:
    """The citations of an answer, and what made it."""
    for citation in reply.citations:
        path = _place(citation.heading, citation.page)
        where = f", {path}" if path else ""
        say(f"  [{citation.number}] {citation.title}{where}")
        say(f"      {citation.uri} [{citation.start}:{citation.end}]")
    flag = ", needs review" if reply.needs_review else ""
    say(
        f"  index version {reply.index_version}, {reply.model},"
        f" confidence {reply.confidence:.2f}{flag}"
    )
