"""A planted key is looked for in everything that a failing model makes the service say."""

import logging

import pytest

from rag_assets.answering.llm_errors import problem_of
from rag_assets.config import LlmConfig
from rag_assets_tests.answering.llm_server import llm_server
from rag_assets_tests.service.conftest import Base

KEY = "planted/key+with=signs-0123456789"
PASSWORD = "planted-password"
QUESTION = "Who answers requests concerning payroll?"
WAYS = ("ok", "401", "404", "429", "500", "garbage", "empty", "slow", "cut", "password")


def everything_said(base: Base, client) -> str:
    """Answers, streams, chats and tasks as a caller sees them, and what is kept of them."""
    history = [{"role": "user", "content": QUESTION}]
    task = [{"role": "user", "content": "### Task:\nGive a title.\nUSER: payroll"}]
    said = []
    for path, body in (
        ("/v1/answer", {"question": QUESTION, "explain": True}),
        ("/v1/answer", {"question": "And where?", "history": history, "stream": True}),
        ("/v1/chat/completions", {"messages": history}),
        ("/v1/chat/completions", {"messages": history, "stream": True}),
        ("/v1/chat/completions", {"messages": task}),
    ):
        reply = client.post(path, json=body)
        said += [reply.text, str(reply.headers)]
    said += [client.get(path).text for path in ("/metrics", "/v1/models", "/readyz")]
    files = [path for path in base.storage.rglob("*") if path.is_file()]
    kept = [path for path in files if "service" in path.parts or "costs" in path.parts]
    assert any(path.suffix == ".jsonl" for path in kept)
    return "\n".join([*said, *(path.read_bytes().decode("latin-1") for path in kept)])


@pytest.mark.parametrize("way", WAYS)
def test_keys_are_in_nothing_that_is_said(
    base: Base, serve, caplog: pytest.LogCaptureFixture, capfd, monkeypatch, way: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", f"{KEY}-of-another")
    caplog.set_level(logging.INFO)
    with llm_server() as models:
        models.release.set() if way == "cut" else None
        address = models.url
        if way == "password":  # which litellm's client refuses to send beside a key
            address = address.replace("http://", f"http://user:{PASSWORD}@")
        base.configure(
            llm={
                "model": f"openai/{way}",
                "api_base": address,
                "api_key": KEY,
                "fallbacks": ["openai/500"],
                "timeout": 0.5 if way == "slow" else 60,
                "first_token_timeout": 0.5 if way == "slow" else 20,
            }
        )
        said = everything_said(base, serve(base))
        assert way == "password" or f"Bearer {KEY}" in models.keys, "it was really sent"
    logged = caplog.text + "".join(capfd.readouterr())
    assert "payroll" in said
    for secret in (KEY, PASSWORD):
        assert secret not in said
        assert secret not in logged


def test_a_provider_s_own_words_lose_every_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SERVICE_TOKEN", "hunter2-hunter2")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    config = LlmConfig(
        model="openai/m", api_base="https://me:pa55word@models.example/v1", api_key=KEY
    )
    error = RuntimeError(f"{KEY} and {KEY}x, hunter2-hunter2, pa55word, api_key=abc, false")
    text = problem_of(error, "openai/m", config).text
    assert text.startswith("openai/m at https://models.example/v1: failed (RuntimeError): … and …x")
    assert "hunter2" not in text
    assert "pa55word" not in text
    assert text.endswith(" false")
    assert " at " not in problem_of(error, "openai/fallback", config).text.partition(":")[0]
    assert KEY not in repr(config)
