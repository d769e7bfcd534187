"""What a model that answers is: the built-in one, or any that litellm can call."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from rag_assets.answering.base import Usage
from rag_assets.answering.extractive import Encode, extract_answer
from rag_assets.answering.prompt import Prompt
from rag_assets.config import LlmConfig
from rag_assets.costs import Purse

EXTRACTIVE = "extractive"

_CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote, which model, and what it cost."""

    text: str
    model: str
    usage: Usage
    cost_usd: float


class Model(Protocol):
    """One model. Safe to use from any thread and any event loop.

    Raises from every call: LlmError, one sentence without secrets.
    """

    @property
    def name(self) -> str:
        """As configured."""

    @property
    def most_usd(self) -> float:
        """What one call can cost at most."""

    def check(self) -> None:
        """Raise LlmError when a key that the model needs is not set; calls nothing."""

    def count_tokens(self, text: str) -> int:
        """Tokens of a text by the model's tokenizer, or by the nearest one known offline."""

    def complete(self, prompt: Prompt) -> Completion:
        """The whole reply."""

    async def acomplete(self, prompt: Prompt) -> Completion:
        """The whole reply, without blocking the caller's event loop."""

    def stream(self, prompt: Prompt) -> Iterator[str | Completion]:
        """The reply piece by piece, then the completion."""

    def astream(self, prompt: Prompt) -> AsyncGenerator[str | Completion, None]:
        """`stream`, without blocking the caller's event loop."""


class ExtractiveModel:
    """The built-in answerer: reads the question and the passages, not the messages.

    Tokens are counted as words: nothing is tokenised and nothing is paid. litellm, 3 s of CPU to
    import, is not needed for it.
    """

    name = EXTRACTIVE
    most_usd = 0.0

    def __init__(self, encode: Encode | None = None) -> None:
        self._encode = encode

    def check(self) -> None:
        """Needs no key."""

    def count_tokens(self, text: str) -> int:
        """An estimate: there is no tokenizer."""
        return len(text) // _CHARACTERS_A_TOKEN + 1

    def complete(self, prompt: Prompt) -> Completion:
        """The sentences that answer best."""
        text = extract_answer(prompt.question, prompt.passages, self._encode, prompt.evidence)
        asked = sum(len(message["content"].split()) for message in prompt.messages)
        return Completion(text, EXTRACTIVE, Usage(asked, len(text.split())), 0.0)

    async def acomplete(self, prompt: Prompt) -> Completion:
        """The same, computed off the event loop."""
        return await asyncio.to_thread(self.complete, prompt)

    def stream(self, prompt: Prompt) -> Iterator[str | Completion]:
        """The same word by word."""
        yield from _words(self.complete(prompt))

    async def astream(self, prompt: Prompt) -> AsyncGenerator[str | Completion, None]:
        """The same word by word, computed off the event loop."""
        for piece in _words(await asyncio.to_thread(self.complete, prompt)):
            yield piece


def open_models(
    config: LlmConfig, encode: Encode | None = None, purse: Purse | None = None
) -> list[Model]:
    """The configured model, its fallbacks, and last the built-in one, each once."""
    return [
        _open(config, name, encode, purse)
        for name in dict.fromkeys((config.model, *config.fallbacks, EXTRACTIVE))
    ]


def _open(config: LlmConfig, name: str, encode: Encode | None, purse: Purse | None) -> Model:
    if name == EXTRACTIVE:
        return ExtractiveModel(encode)
    from rag_assets.answering.llm import LanguageModel

    return LanguageModel(config, name, purse)


def _words(completion: Completion) -> Sequence[str | Completion]:
    first, *rest = completion.text.split(" ")
    return [first, *(f" {word}" for word in rest), completion]
