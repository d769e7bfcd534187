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
from rag_assets.service.tasks import complete_task

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
    reply = _Reply(body, call, shelf)
    if body.is_task:
        parts = reply.task()
    else:
        question = _question(body, body.rag or RagOptions())
        asker = call.service.asker
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

    async def task(self) -> AsyncIterator[AnswerPart]:
        """A front end's own prompt, answered without retrieval."""
        record, config = self._call.record, self._shelf.config.llm
        record.knowledge_base = self._shelf.name
        record.details["task"] = True
        said = [(message.role, message.plain) for message in self._body.messages]
        done = await complete_task(config, said)
        answer = Answer(
            text=done.text,
            citations=(),
            confidence=0.0,
            needs_review=False,
            index_version=0,
            model=done.model,
            usage=done.usage,
            cost_usd=done.cost_usd,
        )
        record.answer = answer
        await self._call.service.limits.spend(self._call.principal, done.cost_usd)
        yield AnswerPart(text=answer.text)
        yield AnswerPart(answer=answer)

    def _chunk(self, delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> str:
        found = chat.chunk(self._identity, self._created, self._shelf.name, delta, finish)
        return streaming.event({**found, **more})

    def _footer(self, answer: Answer) -> str:
        return "" if self._style == "annotations" else chat.sources(answer.citations)

    def _annotations(self, answer: Answer) -> dict[str, Any]:
        if self._style == "footer" or not answer.citations:
            return {}
        return {"annotations": chat.annotations(answer.text, answer.citations)}

    def _extras(self, answer: Answer) -> dict[str, Any]:
        return {
            "request_id": self._call.record.request_id,
            "cached": self._call.record.cached,
            **answer.as_json(),
        }


def _question(body: ChatBody, options: RagOptions) -> Question:
    return Question(
        body.question(),
        options.k,
        options.where,
        options.groups,
        options.version,
        options.mode,
        options.weights,
        options.category,
        history=body.history(),
    )


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
