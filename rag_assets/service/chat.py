"""Chat in the shapes of the OpenAI API: what was asked, and an answer with its citations.

Citations travel three ways: as [n] in the text, as `url_citation` annotations, and as a list of
sources under the text for front ends that show neither (most drop fields they do not know).
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rag_assets.answering.base import Answer, Citation
from rag_assets.service.errors import Refused
from rag_assets.service.schemas import MAX_QUESTION, MAX_TURN, Options

SOURCES = "\n\n**Sources:**\n"
TASK = "### Task:"
"""What the prompts of Open WebUI begin with by which it asks for titles, tags and follow-ups."""


class _Given(BaseModel):
    """What an OpenAI client sends; parameters that mean nothing here are accepted and ignored."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


_SOME_TEXT = {"type": "string", "pattern": r"\S"}
_TEXT_PART = _object(type={"const": "text"}, text=_SOME_TEXT)
_QUESTION = _object(
    role={"const": "user"},
    content={"anyOf": [_SOME_TEXT, {"type": "array", "contains": _TEXT_PART}]},
)


class Part(_Given):
    """A part of a message; only text can be asked about."""

    type: Annotated[str, Field(max_length=100)]
    text: str | None = None


class ChatMessage(_Given):
    """One message so far."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    @property
    def plain(self) -> str:
        """Its text; of an answer of ours, without the list of sources."""
        content = self.content or ""
        if not isinstance(content, str):
            content = "\n".join(part.text or "" for part in content if part.type == "text")
        return content.split(SOURCES)[0] if self.role == "assistant" else content


class StreamOptions(_Given):
    """How to stream."""

    include_usage: bool | None = None


class RagOptions(Options):
    """What only this service understands; the OpenAI SDK sends it with `extra_body`."""

    knowledge_base: None = None
    citations: Literal["both", "annotations", "footer"] = "both"


class ChatBody(_Given):
    """POST /v1/chat/completions. `model` is the name of a knowledge base."""

    model: Annotated[str, Field(max_length=200)] | None = None
    messages: Annotated[
        list[ChatMessage],
        Field(
            min_length=1,
            max_length=1000,
            description="The last one of the user that has some text is the question.",
            json_schema_extra={"contains": _QUESTION},
        ),
    ]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    rag: RagOptions | None = None

    @property
    def is_task(self) -> bool:
        """Whether a front end asks on its own behalf, which needs no passages."""
        return self.messages[-1].plain.lstrip().startswith(TASK)

    def history(self) -> list[dict[str, str]]:
        """What the user and the assistant said before the question."""
        return [
            {"role": message.role, "content": message.plain[:MAX_TURN]}
            for message in self.messages[: self._asked()]
            if message.role in ("user", "assistant")
        ]

    def question(self) -> str:
        """The text of the question. Raises: Refused (422) when there is none to answer."""
        place = self._asked()
        text, param = self.messages[place].plain.strip(), f"messages.{place}"
        if len(text) > MAX_QUESTION:
            message = f"{param}: expected at most {MAX_QUESTION} characters, found {len(text)}"
            raise Refused(422, message, param=param)
        return text

    def _asked(self) -> int:
        """The place of the last message of the user that has some text."""
        for place in reversed(range(len(self.messages))):
            message = self.messages[place]
            if message.role == "user" and message.plain.strip():
                return place
        none = "messages: expected a message of the user with some text, found none"
        raise Refused(422, none, param="messages")


def sources(citations: Sequence[Citation]) -> str:
    """The list of sources that ends an answer; empty without citations."""
    if not citations:
        return ""
    return SOURCES + "\n".join(
        f"- [{citation.number}] [{_label(citation)}]({_address(citation.uri)})"
        for citation in citations
    )


def _label(citation: Citation) -> str:
    label = " › ".join((citation.title or citation.doc_id, *citation.heading[-1:]))
    return re.sub(r"([\[\]])", r"\\\1", label)


def _address(uri: str) -> str:
    return uri.replace(" ", "%20").replace("(", "%28").replace(")", "%29")


def annotations(text: str, citations: Sequence[Citation]) -> list[dict[str, Any]]:
    """Each citation at its first mark in the text."""
    found = []
    for citation in citations:
        mark = f"[{citation.number}]"
        start = max(text.find(mark), 0)
        found.append(
            {
                "type": "url_citation",
                "url_citation": {
                    "start_index": start,
                    "end_index": start + len(mark),
                    "url": citation.uri,
                    "title": citation.title or citation.doc_id,
                },
            }
        )
    return found


def completion(
    identity: str, created: int, model: str, message: dict[str, Any], usage: dict[str, int]
) -> dict[str, Any]:
    """A whole chat completion."""
    return {
        "id": identity,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "refusal": None, **message},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": usage,
    }


def chunk(
    identity: str,
    created: int,
    model: str,
    delta: dict[str, Any] | None,
    finish: str | None = None,
) -> dict[str, Any]:
    """One piece of a streamed completion; without a delta, one that has no choices."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {
        "id": identity,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": [] if delta is None else [choice],
    }


def usage(answer: Answer) -> dict[str, int]:
    """Tokens, as the OpenAI API names them."""
    counted = answer.usage
    return {
        "prompt_tokens": counted.prompt_tokens,
        "completion_tokens": counted.completion_tokens,
        "total_tokens": counted.total_tokens,
    }
