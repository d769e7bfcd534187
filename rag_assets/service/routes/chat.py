"""POST /v1/chat/completions and GET /v1/models: what an OpenAI SDK needs, unchanged."""

import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response

from rag_assets.answering.base import Answer, AnswerPart
from rag_assets.errors import RagError
from rag_assets.service import chat, streaming
from rag_assets.service.asking import Question
from rag_assets.service.chat import ChatBody, RagOptions
from rag_assets.service.context import Call, call_of
from rag_assets.service.library import Shelf
from rag_assets.service.routes.responses import refusals
from rag_assets.service.schemas import EVENT_SCHEMA, CompletionOut, ModelOut, ModelsOut

router = APIRouter(tags=["OpenAI-compatible"])
Asked = Annotated[Call, Depends(call_of)]


@router.post(
    "/v1/chat/completions",
    response_model=CompletionOut,
    responses={
        200: {
            "content": {streaming.MEDIA_TYPE: {"schema": EVENT_SCHEMA}},
            "description": "A completion; with `stream`, its chunks as server-sent events.",
        },
        **refusals(404, 409, 502, 503),
    },
    summary="Chat with a knowledge base",
)
async def completions(body: ChatBody, call: Asked) -> Response:
    """The last message answered from the knowledge base that `model` names."""
    shelf = call.service.library.shelf(body.model, "model")
    reply, asker = _Reply(body, call, shelf), call.service.asker
    parts: AsyncIterator[AnswerPart]
    if body.is_task:
        said = [(message.role, message.plain) for message in body.messages]
        parts = asker.task(shelf, said, call.principal, call.record)
    else:
        options = body.rag or RagOptions()
        question = Question.of(body.question(), options, history=body.history())
        if not body.stream:
            found = await asker.answer(shelf, question, call.principal, call.record)
            return JSONResponse(reply.whole(found))
        parts = asker.stream(shelf, question, call.principal, call.record)
    if body.stream:
        return await streaming.respond(
            parts, reply.frame, call.deadline, call.failed, "data: [DONE]\n\n", named=False
        )
    async for part in parts:
        if part.answer is not None:
            return JSONResponse(reply.whole(part.answer))
    raise AssertionError("a stream of parts ends with an answer")


@router.get("/v1/models", response_model=ModelsOut, responses=refusals(), summary="Knowledge bases")
async def models(call: Asked) -> Response:
    """Every knowledge base as a model to chat with."""
    rows = [_model(shelf) for shelf in call.service.library.shelves.values()]
    return JSONResponse({"object": "list", "data": rows})


@router.get(
    "/v1/models/{model}",
    response_model=ModelOut,
    responses=refusals(404),
    summary="One knowledge base",
)
async def model(model: str, call: Asked) -> Response:
    """A knowledge base as a model."""
    return JSONResponse(_model(call.service.library.shelf(model, "model")))


class _Reply:
    """Answers of one request in the shapes of the OpenAI API."""

    def __init__(self, body: ChatBody, call: Call, shelf: Shelf) -> None:
        self._body = body
        self._call = call
        self._shelf = shelf
        self._identity = f"chatcmpl-{call.record.request_id}"
        self._created = int(time.time())
        self._style = (body.rag or RagOptions()).citations
        self._begun = False

    def whole(self, answer: Answer) -> dict[str, Any]:
        """The completion."""
        message = {"content": answer.text + self._footer(answer), **self._annotations(answer)}
        found = chat.completion(
            self._identity, self._created, self._shelf.name, message, chat.usage(answer)
        )
        return {**found, "rag": self._extras(answer)}

    def frame(self, part: AnswerPart) -> str:
        """One part of the stream, as one or more events."""
        events = []
        if not self._begun:
            self._begun = True
            events.append(self._chunk({"role": "assistant", "content": ""}))
        if part.answer is None:
            return "".join([*events, self._chunk({"content": part.text})])
        answer = part.answer
        last = {"content": self._footer(answer), **self._annotations(answer)}
        if any(last.values()):
            events.append(self._chunk(last))
        events.append(self._chunk({}, "stop", rag=self._extras(answer)))
        if self._body.stream_options and self._body.stream_options.include_usage:
            events.append(self._chunk(None, usage=chat.usage(answer)))
        return "".join(events)

    def _chunk(self, delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> str:
        found = chat.chunk(self._identity, self._created, self._shelf.name, delta, finish)
        return streaming.event({**found, **more})

    def _footer(self, answer: Answer) -> str:
        return "" if self._style == "annotations" else chat.sources(answer.citations)

    def _annotations(self, answer: Answer) -> dict[str, Any]:
        cited = () if self._style == "footer" else answer.citations
        return {"annotations": chat.annotations(answer.text, cited)}

    def _extras(self, answer: Answer) -> dict[str, Any]:
        return {
            "request_id": self._call.record.request_id,
            "cached": self._call.record.cached,
            **answer.as_json(),
        }


def _model(shelf: Shelf) -> dict[str, Any]:
    created, number, problem = 0, None, None
    try:
        number = shelf.live_version()
        built = shelf.versions.manifest(number).created_at
        created = int(datetime.fromisoformat(built).timestamp())
    except RagError as error:
        problem = str(error)
    return {
        "id": shelf.name,
        "object": "model",
        "created": created,
        "owned_by": "rag-assets",
        "index_version": number,
        "problem": problem,
    }
