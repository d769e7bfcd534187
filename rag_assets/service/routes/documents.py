"""GET, PUT and DELETE /v1/documents/{source}/{id}."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError

from rag_assets.service.context import Call, call_of
from rag_assets.service.errors import Refused
from rag_assets.service.library import Shelf
from rag_assets.service.reading import read_document
from rag_assets.service.routes.responses import refusals
from rag_assets.service.schemas import AcceptedOut, DocumentBody, DocumentOut
from rag_assets.sources.inbox import MAX_ID, Inbox, Pushed

router = APIRouter(tags=["documents"])
Asked = Annotated[Call, Depends(call_of)]
Source = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=100)]
DocumentId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=MAX_ID,
        pattern=r"^[^\x00-\x20\x7f-\xa0](.*[^\x00-\x20\x7f-\xa0])?$",
        description="May contain slashes.",
    ),
]
Name = Annotated[str | None, Query(max_length=200)]
Version = Annotated[int | None, Query(ge=1, le=2**31)]

_PUT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": DocumentBody.model_json_schema()},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.get(
    "/v1/documents/{source}/{id:path}",
    response_model=DocumentOut,
    responses=refusals(404, 503),
    summary="A document as it is indexed",
)
async def get(
    source: Source,
    id: DocumentId,
    call: Asked,
    version: Version = None,
    knowledge_base: Name = None,
) -> Response:
    """The text and passages of a document that the caller may read."""
    shelf = call.service.library.shelf(knowledge_base)
    call.record.knowledge_base = shelf.name
    doc_id = f"{source}/{id}"
    found = await asyncio.to_thread(read_document, shelf, doc_id, call.principal, version)
    call.record.index_version = found.index_version
    return JSONResponse(
        {
            "knowledge_base": shelf.name,
            "index_version": found.index_version,
            "doc_id": doc_id,
            "uri": found.uri,
            "title": found.title,
            "metadata": found.metadata,
            "text": found.text,
            "passages": [
                {
                    "chunk_id": passage.chunk_id,
                    "start": passage.start,
                    "end": passage.end,
                    "heading": list(passage.heading),
                }
                for passage in found.passages
            ],
        }
    )


@router.put(
    "/v1/documents/{source}/{id:path}",
    status_code=202,
    response_model=AcceptedOut,
    responses=refusals(404, 409, 415, 503),
    openapi_extra=_PUT_BODY,
    summary="Push a document",
)
async def put(
    source: Source, id: DocumentId, request: Request, call: Asked, knowledge_base: Name = None
) -> Response:
    """Store a document durably; the next refresh of its source indexes it.

    JSON is a `DocumentBody`; a body of any other media type is the document's own bytes, whose type
    is told by the file name that its id ends with. A JSON file is pushed as
    application/octet-stream.
    """
    shelf, inbox = _writable(call, source, knowledge_base)
    data, pushed = _content(await request.body(), request.headers.get("content-type", ""))
    pushed = await asyncio.to_thread(_owned, pushed, inbox, id, call)
    digest = await asyncio.to_thread(inbox.put, id, data, pushed)
    return _accepted(call, shelf, f"{source}/{id}", digest)


@router.delete(
    "/v1/documents/{source}/{id:path}",
    status_code=202,
    response_model=AcceptedOut,
    responses=refusals(404, 409, 503),
    summary="Delete a pushed document",
)
async def delete(
    source: Source, id: DocumentId, call: Asked, knowledge_base: Name = None
) -> Response:
    """Mark a pushed document as deleted; the next refresh of its source removes it."""
    shelf, inbox = _writable(call, source, knowledge_base)
    await asyncio.to_thread(_owned, Pushed(), inbox, id, call)
    if not await asyncio.to_thread(inbox.delete, id):
        raise _unknown(source, id)
    return _accepted(call, shelf, f"{source}/{id}", None)


def _writable(call: Call, source: str, knowledge_base: str | None) -> tuple[Shelf, Inbox]:
    if not call.principal.may_write:
        raise Refused(
            403, "this principal may not write; make a key with `rag-assets keys create --write`"
        )
    shelf = call.service.library.shelf(knowledge_base)
    call.record.knowledge_base = shelf.name
    return shelf, shelf.inbox(source)


def _content(body: bytes, content_type: str) -> tuple[bytes, Pushed]:
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json":
        if not kind:
            raise Refused(
                415,
                "no Content-Type: send application/json, or the type of the file, such as"
                " application/pdf",
            )
        return body, Pushed()
    try:
        given = DocumentBody.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(
            [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        ) from error
    pushed = Pushed(
        name=given.name,
        uri=given.uri,
        title=given.title,
        metadata=given.metadata,
        acl=None if given.acl is None else tuple(given.acl),
    )
    return given.text.encode(), pushed


def _owned(pushed: Pushed, inbox: Inbox, key: str, call: Call) -> Pushed:
    """The document as one of the caller's tenant; another tenant's is as if it were not there."""
    tenant = call.principal.tenant
    if tenant is None:
        return pushed
    inbox.follow()  # it may have been pushed on another machine
    held = inbox.header(key)
    if held is not None and not call.principal.owns(held["metadata"]):
        raise Refused(403, f"the document {key!r} belongs to another tenant")
    return Pushed(
        pushed.name,
        pushed.uri,
        pushed.title,
        {**pushed.metadata, "tenant": tenant},
        pushed.acl,
    )


def _unknown(source: str, key: str) -> Refused:
    message = f"no document {key!r} was ever pushed to {source!r}"
    return Refused(404, message, "document_not_found", "id")


def _accepted(call: Call, shelf: Shelf, doc_id: str, digest: str | None) -> Response:
    call.record.details["document"] = {"doc_id": doc_id, "sha256": digest}
    body = {
        "request_id": call.record.request_id,
        "doc_id": doc_id,
        "status": "accepted",
        "sha256": digest,
    }
    return JSONResponse(body, 202)
