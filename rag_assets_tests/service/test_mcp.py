"""The MCP server with the official client, over HTTP and over stdio."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult

from rag_assets_tests.service.conftest import ACME, SECRET, Base, address, refusal

Use = Callable[[ClientSession], Awaitable[Any]]


def over_http(url: str, use: Use, key: str | None = None) -> Any:
    async def run() -> Any:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with (
            httpx2.AsyncClient(headers=headers) as http,
            streamable_http_client(f"{url}/mcp", http_client=http) as streams,
            ClientSession(*streams[:2]) as session,
        ):
            await session.initialize()
            return await use(session)

    return asyncio.run(run())


def text(result: CallToolResult) -> str:
    [item] = result.content
    return item.text


async def _search_and_fetch(session: ClientSession) -> dict[str, Any]:
    tools = await session.list_tools()
    typed = await session.call_tool(
        "search_knowledge_base", {"query": "payroll requests", "k": 2, "where": {"team": "office"}}
    )
    found = json.loads(text(await session.call_tool("search", {"query": "payroll requests"})))
    first = found["results"][0]
    fetched = json.loads(text(await session.call_tool("fetch", {"id": first["id"]})))
    return {"tools": tools.tools, "typed": typed, "found": found, "fetched": fetched}


def _check(seen: dict[str, Any]) -> None:
    assert [tool.name for tool in seen["tools"]] == ["search_knowledge_base", "search", "fetch"]
    assert all(tool.description and tool.annotations.read_only_hint for tool in seen["tools"])
    structured = seen["typed"].structured_content
    assert (structured["knowledge_base"], structured["index_version"]) == ("small", 1)
    assert [passage["doc_id"] for passage in structured["passages"]] == ["docs/payroll.md"] * 2
    results = seen["found"]["results"]
    assert all(sorted(result) == ["id", "text", "title", "url"] for result in results)
    assert len({result["id"] for result in results}) == len(results)
    assert results[0]["id"] == "small:docs/payroll.md"
    fetched = seen["fetched"]
    assert sorted(fetched) == ["id", "metadata", "text", "title", "url"]
    assert "PAY-00" in fetched["text"]
    assert fetched["metadata"]["team"] == "office"


def test_tools_over_http(shared: str) -> None:
    _check(over_http(shared, _search_and_fetch))


def test_tools_over_stdio(base: Base) -> None:
    program = "from rag_assets.cli import main; main()"
    arguments = ["-c", program, "mcp", "--config", str(base.path)]
    server = StdioServerParameters(command=sys.executable, args=arguments)

    async def run() -> dict[str, Any]:
        async with stdio_client(server) as streams, ClientSession(*streams) as session:
            await session.initialize()
            return await _search_and_fetch(session)

    _check(asyncio.run(run()))
    lines = base.audit()
    assert [line["tool"] for line in lines] == ["search_knowledge_base", "search", "fetch"]
    assert {(line["method"], line["outcome"]) for line in lines} == {("MCP", "completed")}


def test_what_cannot_be_is_told_in_a_sentence(shared: str) -> None:
    async def use(session: ClientSession) -> list[CallToolResult]:
        return [
            await session.call_tool("fetch", {"id": "small:docs/none.md"}),
            await session.call_tool("fetch", {"id": "none"}),
            await session.call_tool("search_knowledge_base", {"query": " "}),
            await session.call_tool("search_knowledge_base", {"query": "a", "where": {"a": {}}}),
            await session.call_tool(
                "search_knowledge_base", {"query": "a", "knowledge_base": "other"}
            ),
        ]

    results = over_http(shared, use)
    assert all(result.is_error for result in results)
    assert "there is no document 'docs/none.md'" in text(results[0])
    assert "there is no knowledge_base 'other'; there are: small" in text(results[4])
    assert not any("Traceback" in text(result) for result in results)


def test_a_tool_that_fails_is_recorded_as_failed(base: Base, serve) -> None:
    async def use(session: ClientSession) -> CallToolResult:
        return await session.call_tool("fetch", {"id": "small:docs/none.md"})

    assert over_http(address(serve(base)), use).is_error
    [line] = [line for line in base.audit() if "tool" in line]
    assert (line["tool"], line["knowledge_base"]) == ("fetch", "small")
    assert line["outcome"] == "failed"
    assert line["error"] == "there is no document 'docs/none.md' in version 1"


def test_keys_decide_what_tools_find(base: Base, serve) -> None:
    _, acme = base.keys.create("acme", tenant="acme")
    _, chair = base.keys.create("chair", groups=["board"])
    client = serve(base)
    url = address(client)

    async def use(session: ClientSession) -> tuple[str, bool]:
        found = await session.call_tool("search", {"query": "anvils crates merger Bluebird"})
        document = await session.call_tool("fetch", {"id": "small:board/merger.md"})
        return text(found), document.is_error

    found, hidden = over_http(url, use, acme)
    assert ACME in found
    assert SECRET not in found
    assert hidden
    found, hidden = over_http(url, use, chair)
    assert SECRET in found
    assert not hidden
    assert refusal(client.post("/mcp", json={}))[:2] == (401, "missing_api_key")
    tools = [line["tool"] for line in base.audit() if "tool" in line]
    assert tools == ["search", "fetch"] * 2
