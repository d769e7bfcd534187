"""The knowledge bases as tools of the Model Context Protocol, over HTTP at /mcp and over stdio.

`search_knowledge_base` is for agents in general; `search` and `fetch` are the two that connectors
of chat products expect, in the shapes that those expect.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

import rag_assets
from rag_assets.service.asking import Question
from rag_assets.service.context import Call
from rag_assets.service.errors import refusal_of
from rag_assets.service.library import Library
from rag_assets.service.reading import read_document
from rag_assets.service.schemas import MAX_QUESTION, Text, Where

Calling = Callable[[Context[Any, Any], str], AbstractContextManager[Call]]
"""(context, tool) to the call of a tool; whatever is to be written of it is written at its end."""

_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_TITLES = 8  # results of the plain `search`


class Passage(BaseModel):
    """A passage found; cite it by title and uri."""

    title: str
    uri: str
    doc_id: str
    heading: list[str]
    text: str
    score: float
    start: int
    end: int
    page: int | None = None


class Found(BaseModel):
    """Passages, best first, of one index version."""

    knowledge_base: str
    index_version: int
    passages: list[Passage]


def make_mcp_server(library: Library, calling: Calling) -> MCPServer:
    """The server with its tools."""
    names = ", ".join(library.shelves)
    server = MCPServer(
        "rag-assets",
        version=rag_assets.__version__,
        instructions=(
            f"Passages from the knowledge bases {names}. Search first, answer only from what is"
            " found, and cite the uri of each passage used."
        ),
        log_level="WARNING",
    )

    @server.tool(annotations=_READS)
    async def search_knowledge_base(
        context: Context[Any, Any],
        query: Annotated[Text, Field(description="What to look for, in plain words.")],
        k: Annotated[int, Field(ge=1, le=50, description="How many passages.")] = 5,
        where: Annotated[
            Where | None, Field(description="Metadata filter in Chroma's language.")
        ] = None,
        knowledge_base: Annotated[str | None, Field(description=f"One of: {names}.")] = None,
    ) -> Found:
        """Search a knowledge base; returns the passages that answer the query best."""
        with _told(calling(context, "search_knowledge_base")) as call:
            shelf = library.shelf(knowledge_base)
            question = Question(query, k=k, where=where)
            found = await call.service.asker.search(shelf, question, call.principal, call.record)
        passages = [
            Passage(
                title=hit.title,
                uri=hit.uri,
                doc_id=hit.doc_id,
                heading=list(hit.heading),
                text=hit.text,
                score=hit.score,
                start=hit.start,
                end=hit.end,
                page=hit.page,
            )
            for hit in found
        ]
        return Found(
            knowledge_base=shelf.name, index_version=found.index_version, passages=passages
        )

    @server.tool(annotations=_READS, structured_output=False)
    async def search(
        context: Context[Any, Any],
        query: Annotated[str, Field(min_length=1, max_length=MAX_QUESTION)],
    ) -> str:
        """Find documents; returns JSON with `results`, each with an `id` to fetch."""
        results = []
        with _told(calling(context, "search")) as call:
            for shelf in library.shelves.values():
                question = Question(query, k=_TITLES)
                asker = call.service.asker
                for hit in await asker.search(shelf, question, call.principal, call.record):
                    results.append(
                        {
                            "id": f"{shelf.name}:{hit.doc_id}",
                            "title": hit.title or hit.doc_id,
                            "url": hit.uri,
                            "text": hit.text,
                        }
                    )
        return json.dumps({"results": _one_each(results)}, ensure_ascii=False)

    @server.tool(annotations=_READS, structured_output=False)
    async def fetch(
        context: Context[Any, Any],
        id: Annotated[str, Field(description="As `search` gave it.", max_length=2000)],
    ) -> str:
        """A whole document; returns JSON with `id`, `title`, `text`, `url` and `metadata`."""
        name, _, doc_id = id.partition(":")
        with _told(calling(context, "fetch")) as call:
            shelf = library.shelf(name)
            call.record.knowledge_base = shelf.name
            found = await asyncio.to_thread(read_document, shelf, doc_id, call.principal)
            call.record.index_version = found.index_version
        return json.dumps(
            {
                "id": id,
                "title": found.title or doc_id,
                "text": found.text,
                "url": found.uri,
                "metadata": {**found.metadata, "index_version": found.index_version},
            },
            ensure_ascii=False,
        )

    return server


@contextmanager
def _told(calling: AbstractContextManager[Call]) -> Iterator[Call]:
    """The call; what goes wrong in it is told to the model in one sentence, and recorded."""
    with calling as call:
        try:
            yield call
        except Exception as error:  # noqa: BLE001 - whatever it is, the model gets one sentence
            refusal = refusal_of(error)
            call.failed(refusal)
            raise ToolError(refusal.message + refusal.found) from None


def _one_each(results: list[dict[str, str]]) -> list[dict[str, str]]:
    """The best passage of each document."""
    best: dict[str, dict[str, str]] = {}
    for result in results:
        best.setdefault(result["id"], result)
    return list(best.values())
