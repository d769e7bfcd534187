"""The FastAPI application of one or more knowledge bases."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from os import PathLike
from typing import Any

from fastapi import FastAPI
from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings
from starlette.middleware.cors import CORSMiddleware

import rag_assets
from rag_assets.service import errors
from rag_assets.service.access import Access
from rag_assets.service.context import Call, open_service
from rag_assets.service.gate import Gate, GateKeeping
from rag_assets.service.keys import KeyStore
from rag_assets.service.mcp_server import make_mcp_server
from rag_assets.service.routes import asking, chat, documents, operations, page
from rag_assets.service.tracing import open_tracing


def create_app(config_paths: Sequence[str | PathLike[str]] = ()) -> FastAPI:
    """The service for these configuration files, or for the one found when none is named.

    A knowledge base that was never refreshed is answered with 503 until it is.
    Raises: ConfigError, StorageError.
    """
    service = open_service(config_paths)
    library, config = service.library, service.library.service
    access = Access(config, KeyStore.at(library.storage))
    tracing = open_tracing()

    mcp = make_mcp_server(library, _calling)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(library.warm)
        async with mcp.session_manager.run():
            yield
        await asyncio.to_thread(library.close)
        await asyncio.to_thread(tracing.close)
        service.limits.close()

    app = FastAPI(
        title="rag_assets",
        version=rag_assets.__version__,
        summary="Search and cited answers from knowledge bases that are kept fresh.",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    for room in (asking, chat, documents, operations, page):
        app.include_router(room.router)
    # The gate checks hosts, origins and keys; a mounted application would answer /mcp with a 307.
    app.router.routes.extend(
        mcp.streamable_http_app(
            streamable_http_path="/mcp",
            stateless_http=True,
            json_response=True,
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        ).routes
    )
    errors.install(app)
    document = app.openapi()  # made once, and served as it is here
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{}, {"key": []}]
    keeping = GateKeeping(
        access, service.limits, service.audit, service.metrics, tracing, config.limits
    )
    app.add_middleware(Gate, keeping=keeping)
    if config.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["authorization", "content-type", "x-request-id"],
            expose_headers=["x-request-id", "x-index-version", "x-degraded", "retry-after"],
        )
    return app


@contextmanager
def _calling(context: Context[Any, Any], tool: str) -> Iterator[Call]:
    """The HTTP request that a tool is called by; the gate writes its record."""
    request = context.request_context.request
    call = Call(request.app.state.service, request.state.record)
    call.record.details["tool"] = tool
    yield call
