"""POST /v1/search, /v1/answer and /v1/feedback."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response

from rag_assets.answering.base import Answer, AnswerPart
from rag_assets.retrieval.base import Hit
from rag_assets.service import streaming
from rag_assets.service.asking import Question
from rag_assets.service.context import Call, call_of
from rag_assets.service.library import Shelf
from rag_assets.service.routes.responses import refusals
from rag_assets.service.schemas import (
    EVENT_SCHEMA,
    AnswerBody,
    AnswerOut,
    FeedbackBody,
    FeedbackOut,
    SearchBody,
    SearchOut,
)

router = APIRouter(tags=["asking"])
Asked = Annotated[Call, Depends(call_of)]


@router.post(
    "/v1/search",
    response_model=SearchOut,
    responses=refusals(404, 409, 503),
    summary="Ranked passages",
)
async def search(body: SearchBody, call: Asked) -> Response:
    """The best passages that the caller may read, all from one index version."""
    shelf = call.service.library.shelf(body.knowledge_base)
    question = Question.of(body.query, body, explain=body.explain)
    found = await call.service.asker.search(shelf, question, call.principal, call.record)
    return JSONResponse(
        {
            "request_id": call.record.request_id,
            "knowledge_base": shelf.name,
            "index_version": found.index_version,
            "milliseconds": round(found.milliseconds, 3),
            "hits": [_hit(hit, explain=body.explain) for hit in found],
        }
    )


@router.post(
    "/v1/answer",
    response_model=AnswerOut,
    responses={
        200: {
            "content": {
                streaming.MEDIA_TYPE: {
                    "schema": EVENT_SCHEMA,
                    "example": 'event: text\ndata: {"text": "You get 28 days"}\n\n',
                }
            },
            "description": "The answer; with `stream`, events `text`, `answer` and `error`.",
        },
        **refusals(404, 409, 502, 503),
    },
    summary="A cited answer",
)
async def answer(body: AnswerBody, call: Asked) -> Response:
    """An answer with citations; with `stream`, its text as it is written and then the whole."""
    shelf = call.service.library.shelf(body.knowledge_base)
    history = [turn.model_dump() for turn in body.history]
    question = Question.of(body.question, body, explain=body.explain, history=history)
    asker = call.service.asker
    if body.stream:
        parts = asker.stream(shelf, question, call.principal, call.record)
        frame = partial(_event, call, shelf)
        return await streaming.respond(parts, frame, call.deadline, call.failed)
    found = await asker.answer(shelf, question, call.principal, call.record)
    return JSONResponse(_answer(found, call, shelf))


@router.post(
    "/v1/feedback",
    response_model=FeedbackOut,
    responses=refusals(404),
    summary="Judge an answer",
)
async def feedback(body: FeedbackBody, call: Asked) -> Response:
    """A judgement of an earlier answer; joined to it in the audit log by the request's id."""
    shelf = call.service.library.shelf(body.knowledge_base)
    call.record.knowledge_base = shelf.name
    call.record.details["feedback"] = {
        "request_id": body.request_id,
        "rating": body.rating,
        "comment": body.comment,
    }
    call.service.metrics.feedback(shelf.name, body.rating)
    return JSONResponse({"request_id": body.request_id, "status": "recorded"})


def _event(call: Call, shelf: Shelf, part: AnswerPart) -> str:
    if part.answer is None:
        return streaming.event({"text": part.text}, "text")
    return streaming.event(_answer(part.answer, call, shelf), "answer")


def _answer(found: Answer, call: Call, shelf: Shelf) -> dict[str, Any]:
    return {
        "request_id": call.record.request_id,
        "knowledge_base": shelf.name,
        "cached": call.record.cached,
        **found.as_json(),
    }


def _hit(hit: Hit, *, explain: bool) -> dict[str, Any]:
    return {
        "rank": hit.rank,
        "score": hit.score,
        "uri": hit.uri,
        "doc_id": hit.doc_id,
        "chunk_id": hit.chunk_id,
        "source": hit.source,
        "title": hit.title,
        "heading": list(hit.heading),
        "start": hit.start,
        "end": hit.end,
        "page": hit.page,
        "text": hit.text,
        "metadata": dict(hit.metadata),
        "signals": dict(hit.signals) if explain else None,
        "parts": dict(hit.parts) if explain else None,
    }
