"""The MCP server over stdio, for agents that start it themselves on this machine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

import anyio
from mcp.server.mcpserver import Context

from rag_assets.service.context import Call, open_service
from rag_assets.service.mcp_server import make_mcp_server
from rag_assets.service.principals import LOCAL
from rag_assets.service.record import Record


def run_stdio(paths: Sequence[str | PathLike[str]] = ()) -> None:
    """Serve the tools on stdin and stdout until stdin ends.

    Whoever started it may read every document that this user may. Raises: ConfigError.
    """
    service = open_service(paths)

    @contextmanager
    def calling(_: Context[Any, Any], tool: str) -> Iterator[Call]:
        record = Record.begun("MCP", "stdio", {}, None)
        record.principal = LOCAL
        record.details["tool"] = tool
        try:
            yield Call(service, record)
            record.outcome = "completed"
        finally:
            service.audit.append(record.as_json(service.audit.question(record.question or "")))

    server = make_mcp_server(service.library, calling)
    try:
        anyio.run(server.run_stdio_async)
    finally:
        service.library.close()
