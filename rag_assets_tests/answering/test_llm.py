import asyncio
import os
import socket
import subprocess
import sys

import pytest

from rag_assets.answering.llm import LanguageModel
from rag_assets.answering.models import Completion
from rag_assets.answering.prompt import Prompt
from rag_assets.config import LlmConfig
from rag_assets.errors import LlmError
from rag_assets_tests.answering.llm_server import REPLY, llm_server

KEY = "sk-test-0123456789abcdef"
MESSAGES = [{"role": "user", "content": "How many days?"}]
PROMPT = Prompt(MESSAGES)


@pytest.fixture
def server():
    with llm_server() as server:
        yield server


def model(server, name, **settings):
    config = {"model": f"openai/{name}", "api_base": server.url, "api_key": KEY, **settings}
    return LanguageModel(LlmConfig(**config))


def streamed(language_model):
    *pieces, completion = language_model.stream(PROMPT)
    return pieces, completion


def test_a_whole_reply(server):
    reply = model(server, "ok").complete(PROMPT)
    assert (reply.text, reply.model) == (REPLY, "openai/ok")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (70, 11)
    assert reply.cost_usd == 0.0
    assert server.requests[0]["messages"] == MESSAGES
    assert server.requests[0]["max_tokens"] == 2048
    assert server.keys == [f"Bearer {KEY}"]


def test_a_streamed_reply(server):
    pieces, completion = streamed(model(server, "ok"))
    assert "".join(pieces) == completion.text == REPLY
    assert len(pieces) > 5
    assert completion.usage.total_tokens == 81


def test_asynchronous_replies_are_the_same(server):
    async def both():
        language_model = model(server, "ok")
        whole = await language_model.acomplete(PROMPT)
        parts = [piece async for piece in language_model.astream(PROMPT)]
        return whole, parts

    whole, parts = asyncio.run(both())
    assert whole.text == REPLY
    assert "".join(parts[:-1]) == REPLY
    assert isinstance(parts[-1], Completion)


def test_many_threads_and_loops_share_one_model(server):
    from concurrent.futures import ThreadPoolExecutor

    language_model = model(server, "ok")
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda _: language_model.complete(PROMPT).text, range(24)))
    assert texts == [REPLY] * 24


def test_a_server_of_ones_own_needs_no_key(server):
    assert model(server, "ok", api_key=None).complete(PROMPT).text == REPLY


@pytest.mark.parametrize(
    ("name", "message", "requests"),
    [
        ("401", "the credentials were refused (401); check llm.api_key", 1),
        ("404", "no such model (404); check llm.model", 1),
        ("429", "rate limit reached (429, retry after 0 s)", 2),
        ("500", "failed (500)", 2),
        ("empty", "replied without any text", 1),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_failures_are_one_sentence_without_secrets(server, name, message, requests, stream):
    call = streamed if stream else lambda m: m.complete(PROMPT)
    with pytest.raises(LlmError) as caught:
        call(model(server, name))
    text = str(caught.value)
    assert message in text
    assert text.startswith(f"openai/{name}")
    assert "\n" not in text
    assert KEY not in text
    assert len(server.requests) == requests


def test_a_page_instead_of_a_reply_is_a_failure(server):
    with pytest.raises(LlmError, match=r"openai/garbage at .*: failed"):
        model(server, "garbage").complete(PROMPT)
    with pytest.raises(LlmError, match="replied without any text"):
        streamed(model(server, "garbage"))


@pytest.mark.parametrize("name", ["429-once", "500-once"])
def test_what_may_pass_is_tried_once_more(server, name):
    assert model(server, name).complete(PROMPT).text == REPLY
    assert len(server.requests) == 2


def test_a_server_that_says_nothing_is_given_up(server):
    with pytest.raises(LlmError, match=r"no reply within the time allowed|timed out"):
        model(server, "slow", timeout=0.3).complete(PROMPT)
    with pytest.raises(LlmError, match=r"no reply within the time allowed|timed out"):
        streamed(model(server, "slow", first_token_timeout=0.3))


def test_nobody_listening(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = LlmConfig(model="openai/x", api_base=f"http://127.0.0.1:{port}/v1", api_key=KEY)
    with pytest.raises(LlmError, match=f"openai/x at http://127.0.0.1:{port}/v1: failed"):
        LanguageModel(config).complete(PROMPT)


def test_a_stream_that_breaks_off_says_so(server):
    pieces = model(server, "cut").stream(PROMPT)
    assert next(pieces) == REPLY[:5]
    server.release.set()
    with pytest.raises(LlmError, match="broke off half-way"):
        list(pieces)


def test_an_abandoned_stream_is_closed(server):
    pieces = model(server, "ok").stream(PROMPT)
    next(pieces)
    pieces.close()
    assert model(server, "ok").complete(PROMPT).text == REPLY


def test_a_missing_key_is_found_before_calling(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(LlmError, match="OPENAI_API_KEY is not set"):
        LanguageModel(LlmConfig(model="gpt-4o-mini")).check()
    LanguageModel(LlmConfig(model="gpt-4o-mini", api_key=KEY)).check()


def test_an_unknown_provider_is_an_error_in_words():
    with pytest.raises(LlmError, match="nobody/x"):
        LanguageModel(LlmConfig(model="nobody/x")).complete(PROMPT)


def test_tokens_are_counted_offline():
    assert LanguageModel(LlmConfig(model="gpt-4o-mini")).count_tokens("How many days?") == 4
    llama = LlmConfig(model="openai/meta-llama-3-8b", api_base="http://127.0.0.1:1/v1")
    assert LanguageModel(llama).count_tokens("How many days?") == 4


def test_importing_litellm_looks_nothing_up():
    code = (
        "import socket\n"
        "def refused(*a, **k): raise SystemExit(f'looked up {a[0]}')\n"
        "socket.getaddrinfo = refused\n"
        "from rag_assets.answering.litellm_setup import load_litellm\n"
        "load_litellm()\n"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("LITELLM")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
