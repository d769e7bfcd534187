import asyncio
import json

import pytest

from rag_assets.answering.answer import ABSTENTION, Answerer
from rag_assets.config import LlmConfig
from rag_assets.errors import BadRequest, LlmError
from rag_assets_tests.answering.llm_server import llm_server
from rag_assets_tests.answering.made import hit

KEY = "sk-test-0123456789abcdef"
LEAVE = "Full-time staff receive 28 days of annual leave. Unused days lapse on 31 March."
HITS = [hit(1, LEAVE, start=40), hit(2, "The canteen opens at noon.", doc_id="docs/b.md")]
QUESTION = "How many days of annual leave do staff get?"


@pytest.fixture
def server():
    with llm_server() as server:
        yield server


def answerer(server, name="ok", **settings):
    config = {"model": f"openai/{name}", "api_base": server.url, "api_key": KEY, **settings}
    return Answerer(LlmConfig(**config))


def test_the_built_in_model_answers_with_a_citation():
    answer = Answerer(LlmConfig()).answer(QUESTION, HITS, 7)
    assert answer.text == "Full-time staff receive 28 days of annual leave. [1]"
    [citation] = answer.citations
    assert citation.quote == "Full-time staff receive 28 days of annual leave."
    assert (citation.start, citation.end) == (40, 40 + len(citation.quote))
    assert (answer.index_version, answer.model, answer.cost_usd) == (7, "extractive", 0.0)
    assert (answer.abstained, answer.degraded, answer.dropped_citations) == (False, False, 0)
    assert answer.usage.total_tokens > 0
    assert json.loads(json.dumps(answer.as_json()))["citations"][0]["doc_id"] == "docs/a.md"


def test_any_model_gets_the_passages_and_its_citations_are_checked(server):
    answer = answerer(server).answer(QUESTION, HITS, 7)
    assert answer.text == (
        "Full-time staff receive 28 days of annual leave [1]. Unused days lapse in March."
    )
    assert (answer.dropped_citations, answer.needs_review) == (1, True)
    assert answer.model == "openai/ok"
    system, user = server.requests[0]["messages"]
    assert "NOT_IN_KNOWLEDGE_BASE" in system["content"]
    assert LEAVE in user["content"]
    assert QUESTION in user["content"]


@pytest.mark.parametrize("name", ["extractive", "ok", "abstain"])
def test_a_stream_says_the_same_as_the_whole_answer(server, name):
    config = LlmConfig() if name == "extractive" else None
    subject = Answerer(config) if config else answerer(server, name)
    *parts, last = subject.stream(QUESTION, HITS, 7)
    whole = subject.answer(QUESTION, HITS, 7)
    assert last.answer.text == whole.text
    assert "".join(part.text for part in parts).replace(" .", ".").strip() == whole.text
    assert last.answer.citations == whole.citations
    assert "NOT_IN_KNOWLEDGE_BASE" not in "".join(part.text for part in parts)
    assert last.answer.timings["first_text"] > 0


def test_asynchronous_answers_are_the_same(server):
    async def both():
        subject = answerer(server)
        parts = [part async for part in subject.astream(QUESTION, HITS, 7)]
        return await subject.aanswer(QUESTION, HITS, 7), parts

    whole, parts = asyncio.run(both())
    assert parts[-1].answer.text == whole.text == answerer(server).answer(QUESTION, HITS, 7).text


def test_the_agreed_word_is_an_abstention(server):
    answer = answerer(server, "abstain").answer(QUESTION, HITS, 7)
    assert (answer.text, answer.abstained, answer.citations) == (ABSTENTION, True, ())
    assert (answer.confidence, answer.needs_review) == (0.0, True)


def test_without_passages_no_model_is_called(server):
    answer = answerer(server).answer(QUESTION, [], 7)
    assert (answer.abstained, answer.degraded, server.requests) == (True, False, [])
    begun, *parts, last = answerer(server).stream(QUESTION, [], 7)
    assert (begun.text, begun.passages, begun.index_version) == ("", (), 7)
    assert [part.text for part in parts] == [ABSTENTION]
    assert last.answer.abstained


def test_a_reply_of_which_nothing_is_proven_is_withheld(server):
    server.reply = "Staff get 28 days."
    answer = answerer(server).answer(QUESTION, HITS, 7)
    assert answer.text == "Full-time staff receive 28 days of annual leave. [1]"
    assert (answer.model, answer.degraded, answer.needs_review) == ("extractive", True, True)
    assert answer.problem == "openai/ok: nothing in its reply stands in the passages it was given"
    # A stream has shown it by the time it is known.
    *_, last = answerer(server).stream(QUESTION, HITS, 7)
    assert (last.answer.text, last.answer.needs_review) == ("Staff get 28 days.", True)


@pytest.mark.parametrize("name", ["401", "500", "429", "empty"])
def test_when_the_model_fails_the_built_in_one_answers_and_says_so(server, name):
    answer = answerer(server, name).answer(QUESTION, HITS, 7)
    assert answer.text == "Full-time staff receive 28 days of annual leave. [1]"
    assert (answer.model, answer.degraded, answer.needs_review) == ("extractive", True, True)
    assert answer.problem.startswith(f"openai/{name}")
    assert KEY not in json.dumps(answer.as_json())
    *_, last = answerer(server, name).stream(QUESTION, HITS, 7)
    assert last.answer.degraded


def test_fallbacks_come_before_the_built_in_model(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    answer = answerer(server, "500", fallbacks=["openai/ok"]).answer(QUESTION, HITS, 7)
    assert (answer.model, answer.degraded) == ("openai/ok", False)
    assert answer.problem.startswith("openai/500")
    assert server.keys[-1] == "Bearer another"


def test_a_stream_that_breaks_off_is_not_continued_by_another_model(server):
    parts = answerer(server, "cut").stream(QUESTION, HITS, 7)
    assert next(parts).passages
    assert next(parts).text == "Full-time "
    server.release.set()
    with pytest.raises(LlmError, match="broke off half-way"):
        list(parts)
    assert server.seen == {"cut": 1}


def test_a_missing_key_is_said_at_once(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(LlmError, match="OPENAI_API_KEY is not set"):
        Answerer(LlmConfig(model="gpt-4o-mini")).answer(QUESTION, HITS, 7)


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_refused(question):
    with pytest.raises(BadRequest, match="question: expected a text"):
        Answerer(LlmConfig()).answer(question, HITS, 7)
