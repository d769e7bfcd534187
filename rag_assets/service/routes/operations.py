"""What operators ask: /v1/versions, /healthz, /readyz, /metrics."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse, Response

from rag_assets.errors import IndexNotReady
from rag_assets.service import metrics
from rag_assets.service.context import Call, call_of
from rag_assets.service.routes.responses import refusals
from rag_assets.service.schemas import HealthOut, ReadyOut, VersionsOut

router = APIRouter(tags=["operations"])
Asked = Annotated[Call, Depends(call_of)]


@router.get(
    "/v1/versions",
    response_model=VersionsOut,
    responses=refusals(404, 503),
    summary="Index versions with their figures",
)
async def versions(
    call: Asked, knowledge_base: Annotated[str | None, Query(max_length=200)] = None
) -> Response:
    """Every kept version, newest first, with what its gate measured."""
    shelf = call.service.library.shelf(knowledge_base)
    try:
        live = shelf.live_version()
    except IndexNotReady:
        live = None
    rows = await asyncio.to_thread(shelf.version_rows)
    body = {
        "knowledge_base": shelf.name,
        "live_version": live,
        "confidence": await asyncio.to_thread(shelf.confidence),
        "versions": rows,
    }
    return JSONResponse(body)


@router.get("/healthz", response_model=HealthOut, summary="Is the process up?")
async def healthz() -> Response:
    """Always `ok` while the process answers."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    response_model=ReadyOut,
    responses={503: {"model": ReadyOut, "description": "Something cannot answer yet"}},
    summary="Can it answer?",
)
async def readyz(call: Asked) -> Response:
    """Whether every knowledge base has a live index, and requests can be counted."""
    library = call.service.library
    problems = await asyncio.to_thread(library.problems)
    if not await call.service.limits.check():
        problems["limits"] = "requests cannot be counted"
    ready = not problems
    live = {
        name: shelf.live_version()
        for name, shelf in library.shelves.items()
        if name not in problems
    }
    body = {"ready": ready, "live_versions": live, "problems": problems}
    return JSONResponse(body, 200 if ready else 503)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {metrics.CONTENT_TYPE: {"schema": {"type": "string"}}}},
        **refusals(),
    },
    summary="For Prometheus",
)
async def scrape(call: Asked) -> Response:
    """Counters and histograms of the service, figures of the live versions."""
    text = await asyncio.to_thread(call.service.metrics.exposition)
    return Response(text, media_type=metrics.CONTENT_TYPE)
