"""The built-in answerer as a litellm provider, called like any other model."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from litellm import CustomLLM, ModelResponse
from litellm.types.utils import GenericStreamingChunk, Usage

from rag_assets.answering.extractive import extract_answer, registered_encoder
from rag_assets.answering.prompt import read_messages


class ExtractiveProvider(CustomLLM):
    """`extractive/NAME`; without an encoder of that name it compares words only.

    Tokens are counted as words: nothing is tokenised and nothing is paid.
    """

    def completion(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """The whole answer."""
        return _filled(kwargs["model_response"], kwargs["model"], kwargs["messages"])

    async def acompletion(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """The whole answer, computed off the event loop."""
        return await asyncio.to_thread(self.completion, *args, **kwargs)

    def streaming(self, *args: Any, **kwargs: Any) -> Iterator[GenericStreamingChunk]:
        """The answer word by word."""
        yield from _chunks(kwargs["messages"], _answer(kwargs["model"], kwargs["messages"]))

    async def astreaming(self, *args: Any, **kwargs: Any) -> AsyncIterator[GenericStreamingChunk]:
        """The answer word by word, computed off the event loop."""
        text = await asyncio.to_thread(_answer, kwargs["model"], kwargs["messages"])
        for chunk in _chunks(kwargs["messages"], text):
            yield chunk


def _answer(model: str, messages: list[Any]) -> str:
    question, passages = read_messages(messages)
    return extract_answer(question, passages, registered_encoder(model))


def _filled(response: ModelResponse, model: str, messages: list[Any]) -> ModelResponse:
    text = _answer(model, messages)
    response.choices[0].message.content = text
    response.choices[0].finish_reason = "stop"
    response.model = model
    counted = _usage(messages, text)
    response.usage = Usage(**counted)
    return response


def _chunks(messages: list[Any], text: str) -> Iterator[GenericStreamingChunk]:
    words = text.split(" ")
    for place, word in enumerate(words):
        piece = word if place == 0 else f" {word}"
        yield GenericStreamingChunk(text=piece, is_finished=False, finish_reason="", usage=None)
    usage: Any = _usage(messages, text)
    yield GenericStreamingChunk(text="", is_finished=True, finish_reason="stop", usage=usage)


def _usage(messages: list[Any], text: str) -> dict[str, int]:
    asked = sum(len(str(message.get("content") or "").split()) for message in messages)
    said = len(text.split())
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
    }
