"""One way to call a language model: litellm, with deadlines, one retry and errors of our own.

All calls run on one background event loop, so that synchronous, asynchronous and streamed answers
share connections and behave the same.
"""

import asyncio
import random
import threading
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import cache, cached_property
from typing import Any, TypeVar

from rag_assets.answering.base import Usage
from rag_assets.answering.litellm_setup import load_litellm
from rag_assets.answering.llm_errors import Problem, problem_of
from rag_assets.answering.models import Completion
from rag_assets.answering.prompt import Message, Prompt
from rag_assets.config import LlmConfig
from rag_assets.costs import Purse
from rag_assets.errors import LlmError

_CONNECT_SECONDS = 5.0
_RETRY_SECONDS = (0.2, 0.6)  # waited before the one retry, at random between
_CLOSING_SECONDS = 0.002  # between two looks whether a stream's last step has ended
_LONGEST_RETRY_AFTER = 5.0  # seconds; a provider that asks for more is not waited for

T = TypeVar("T")


class LanguageModel:
    """One model behind litellm. Safe to use from any thread and any event loop.

    purse: asked before every call, told of every one that was paid, also of a stream that broke off
    or that nobody wanted to the end. Raises from every call: LlmError, one sentence without
    secrets.
    """

    def __init__(
        self, config: LlmConfig, model: str | None = None, purse: Purse | None = None
    ) -> None:
        self.name = model or config.model
        self._config = config
        self._purse = purse or Purse()
        self._own_server = model is None or model == config.model

    def check(self) -> None:
        """Raise LlmError when a key that the model needs is not set; calls nothing."""
        if self._api_key() is not None:
            return
        found = load_litellm().validate_environment(self.name)
        if not found["keys_in_environment"] and found["missing_keys"]:
            raise LlmError(
                f"{self.name}: {' and '.join(found['missing_keys'])} is not set; export it, or set"
                " llm.api_key: ${YOUR_VARIABLE}"
            )

    @cached_property
    def most_usd(self) -> float:
        """What one call can cost at most: a full context and a full answer; 0 without a price."""
        half = self._config.max_context_tokens // 2
        return self._cost(Usage(half, half))

    def count_tokens(self, text: str) -> int:
        """Tokens of a text by the model's tokenizer, or by the nearest one shipped with litellm."""
        return int(load_litellm().token_counter(model=self.name, text=text))

    def complete(self, prompt: Prompt) -> Completion:
        """The whole reply."""
        return _on_loop(self._complete(prompt.messages)).result()

    async def acomplete(self, prompt: Prompt) -> Completion:
        """The whole reply, without blocking the caller's event loop."""
        return await asyncio.wrap_future(_on_loop(self._complete(prompt.messages)))

    def stream(self, prompt: Prompt) -> Iterator[str | Completion]:
        """The reply piece by piece, then the completion."""
        pieces = self._stream(prompt.messages)
        try:
            while (piece := _on_loop(_next(pieces)).result()) is not None:
                yield piece
        finally:
            _on_loop(pieces.aclose()).result()

    async def astream(self, prompt: Prompt) -> AsyncGenerator[str | Completion, None]:
        """`stream`, without blocking the caller's event loop."""
        pieces = self._stream(prompt.messages)
        step = _on_loop(_next(pieces))
        try:
            while (piece := await asyncio.wrap_future(step)) is not None:
                yield piece
                step = _on_loop(_next(pieces))
        finally:
            await asyncio.shield(asyncio.wrap_future(_on_loop(_closed(pieces, step))))

    async def _complete(self, messages: Sequence[Message]) -> Completion:
        await self._check_purse()
        deadline = time.monotonic() + self._config.timeout

        async def call() -> Completion:
            response = await self._call(messages, deadline, stream=False)
            text = response.choices[0].message.content or ""
            usage = getattr(response, "usage", None) or self._estimate(messages, [text])
            completion = self._paid(text, usage)
            if not text.strip():
                raise LlmError(f"{self.name}: replied without any text")
            return completion

        return await self._retried(call, deadline)

    async def _stream(self, messages: Sequence[Message]) -> AsyncGenerator[str | Completion, None]:
        await self._check_purse()
        deadline = time.monotonic() + self._config.timeout
        first_by = min(deadline, time.monotonic() + self._config.first_token_timeout)

        async def begin() -> tuple[Any, str, Any]:
            response = await self._call(messages, first_by, stream=True)
            text, usage = "", None
            while not text:
                chunk = await _within(_next(response), first_by)
                if chunk is None:
                    raise LlmError(f"{self.name}: replied without any text")
                text, usage = _delta(chunk), getattr(chunk, "usage", None) or usage
            return response, text, usage

        response, text, usage = await self._retried(begin, first_by)
        said = [text]
        completion = None
        try:
            yield text
            while (chunk := await _within(_next(response), deadline)) is not None:
                usage = getattr(chunk, "usage", None) or usage
                if text := _delta(chunk):
                    said.append(text)
                    yield text
            completion = self._paid("".join(said), usage or self._estimate(messages, said))
        except Exception as error:  # noqa: BLE001 - providers raise anything
            problem = problem_of(error, self.name, self._config)
            raise LlmError(f"{problem.text} (the answer broke off half-way)") from None
        finally:
            if completion is None:  # before anything is awaited: the caller may be gone
                self._paid("".join(said), usage or self._estimate(messages, said))
            with suppress(Exception):
                await response.aclose()
        yield completion

    async def _call(self, messages: Sequence[Message], deadline: float, *, stream: bool) -> Any:
        import httpx

        litellm = await asyncio.to_thread(load_litellm)
        options: dict[str, Any] = {"stream_options": {"include_usage": True}} if stream else {}
        if self._own_server and self._config.api_base:
            options["api_base"] = self._config.api_base
        waiting = max(deadline - time.monotonic(), 0.001)
        call = litellm.acompletion(
            model=self.name,
            messages=list(messages),
            stream=stream,
            api_key=self._api_key(),
            temperature=0.0,
            num_retries=0,
            max_retries=0,
            timeout=httpx.Timeout(waiting, connect=min(waiting, _CONNECT_SECONDS)),
            max_tokens=self._config.max_context_tokens // 2,
            **options,
        )
        return await _within(call, deadline)

    def _api_key(self) -> str | None:
        """The configured key; a server of one's own without a key still wants some text."""
        if not self._own_server:
            return None
        return self._config.api_key or ("none" if self._config.api_base else None)

    async def _retried(self, call: Any, deadline: float) -> Any:
        """`call`, and once more after a failure that may pass; then LlmError."""
        try:
            return await call()
        except LlmError:
            raise
        except Exception as error:  # noqa: BLE001 - providers raise anything
            problem = problem_of(error, self.name, self._config)
            wait = self._retry_wait(problem, deadline)
        if wait is None:
            raise LlmError(problem.text)
        await asyncio.sleep(wait)
        try:
            return await call()
        except LlmError:
            raise
        except Exception as error:  # noqa: BLE001 - providers raise anything
            raise LlmError(problem_of(error, self.name, self._config).text) from None

    def _retry_wait(self, problem: Problem, deadline: float) -> float | None:
        """Seconds to wait before the retry, or None for no retry."""
        if not problem.passing:
            return None
        wait = random.uniform(*_RETRY_SECONDS)
        if problem.retry_after is not None:
            wait = problem.retry_after
        left = deadline - time.monotonic()
        return wait if wait <= min(left, _LONGEST_RETRY_AFTER) else None

    async def _check_purse(self) -> None:
        if self._purse.budget is not None:
            why = await asyncio.to_thread(lambda: self._purse.refusal(self.most_usd))
            if why is not None:
                raise LlmError(why)

    def _paid(self, text: str, usage: Any) -> Completion:
        """The completion of a call, which is paid now whatever becomes of it."""
        counted = Usage(
            int(getattr(usage, "prompt_tokens", 0) or 0),
            int(getattr(usage, "completion_tokens", 0) or 0),
        )
        cost = self._cost(counted)
        if counted.total_tokens:
            self._purse.paid(self.name, counted.prompt_tokens, counted.completion_tokens, cost)
        return Completion(text, self.name, counted, cost)

    def _estimate(self, messages: Sequence[Message], said: Sequence[str]) -> Usage:
        """Tokens of a stream whose server did not get to say them."""
        asked = "\n".join(message["content"] for message in messages)
        return Usage(self.count_tokens(asked), self.count_tokens("".join(said)))

    def _cost(self, usage: Usage) -> float:
        """US dollars; 0 for a model without a known price."""
        try:
            parts = load_litellm().cost_per_token(
                model=self.name,
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
            )
        except Exception:  # noqa: BLE001 - litellm raises a bare Exception for an unknown model
            return 0.0
        return float(sum(parts))


def _delta(chunk: Any) -> str:
    return (chunk.choices[0].delta.content or "") if chunk.choices else ""


async def _next(pieces: Any) -> Any:
    """The next item of an asynchronous iterator, or None at its end."""
    return await anext(pieces, None)


async def _closed(pieces: Any, step: Future[Any]) -> None:
    """Stop the step that a stream is in, and close it once that has ended."""
    step.cancel()
    while pieces.ag_running:
        await asyncio.sleep(_CLOSING_SECONDS)
    await pieces.aclose()


async def _within(call: Coroutine[Any, Any, T], deadline: float) -> T:
    return await asyncio.wait_for(call, max(deadline - time.monotonic(), 0.001))


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="language-models", daemon=True).start()
    return loop


def _on_loop(call: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(call, _loop())
