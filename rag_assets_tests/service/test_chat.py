"""/v1/chat/completions and /v1/models with the real OpenAI SDK, unchanged."""

from collections.abc import Iterator

import httpx
import openai
import pytest

from rag_assets.service.tasks import _smallest
from rag_assets_tests.answering.llm_server import REPLY, llm_server
from rag_assets_tests.service.conftest import Base, address, refusal

QUESTION = "Who answers requests concerning payroll?"
ASKED = [{"role": "user", "content": QUESTION}]


@pytest.fixture
def client(shared: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{shared}/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


def test_knowledge_bases_are_models(client: openai.OpenAI) -> None:
    [model] = client.models.list().data
    assert (model.id, model.owned_by) == ("small", "rag-assets")
    assert client.models.retrieve("small").created == model.created > 0
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_a_completion_carries_citations_three_ways(client: openai.OpenAI, ask) -> None:
    reply = client.chat.completions.create(model="small", messages=ASKED)
    answer = ask.post("/v1/answer", json={"question": QUESTION}).json()
    message = reply.choices[0].message
    text, _, footer = message.content.partition("\n\n**Sources:**\n")
    assert (text, reply.choices[0].finish_reason) == (answer["text"], "stop")
    assert message.role == "assistant"
    for annotation, citation in zip(message.annotations, answer["citations"], strict=True):
        cited = annotation.url_citation
        assert annotation.type == "url_citation"
        assert (cited.url, cited.title) == (citation["uri"], citation["title"])
        assert text[cited.start_index : cited.end_index] == f"[{citation['number']}]"
        assert f"- [{citation['number']}] [" in footer
        assert citation["uri"] in footer
    assert reply.usage.total_tokens == answer["usage"]["total_tokens"]
    assert reply.model_extra["rag"]["citations"] == answer["citations"]
    assert reply.model_extra["rag"]["index_version"] == 1


def test_a_stream_makes_the_same_message(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="small", messages=ASKED)
    chunks = list(
        client.chat.completions.create(
            model="small", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
    )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    [annotated] = [delta.model_extra for delta in deltas if "annotations" in delta.model_extra]
    expected = [note.model_dump() for note in whole.choices[0].message.annotations]
    assert annotated["annotations"] == expected
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    assert len({chunk.id for chunk in chunks}) == 1


def test_extra_options_and_ignored_parameters(client: openai.OpenAI) -> None:
    def content(**rag: object) -> openai.types.chat.ChatCompletion:
        return client.chat.completions.create(
            model="small",
            messages=[{"role": "system", "content": "Be brief."}, *ASKED],
            temperature=0.3,
            max_tokens=50,
            user="u",
            extra_body={"rag": rag},
        )

    assert "**Sources:**" not in content(citations="annotations").choices[0].message.content
    footed = content(citations="footer").choices[0].message
    assert "**Sources:**" in footed.content
    assert footed.annotations == []
    narrowed = content(where={"team": "board"}, k=2).model_extra["rag"]["citations"]
    assert {citation["doc_id"] for citation in narrowed} <= {"board/merger.md"}


def test_parts_of_a_message_and_earlier_answers(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="small", messages=ASKED)
    reply = client.chat.completions.create(
        model="small",
        messages=[
            *ASKED,
            {"role": "assistant", "content": first.choices[0].message.content},
            {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
            {"role": "assistant", "content": "Let me look."},
            {"role": "tool", "content": "nothing"},
        ],
    )
    assert reply.choices[0].message.annotations


def test_refusals_raise_the_classes_of_the_sdk(client: openai.OpenAI) -> None:
    def create(**changes: object) -> None:
        client.chat.completions.create(**{"model": "small", "messages": ASKED, **changes})

    with pytest.raises(openai.NotFoundError) as missing:
        create(model="gpt-4o")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.UnprocessableEntityError):
        create(messages=[])
    nothing_asked = "expected a message of the user with some text, found none"
    for messages in (
        [{"role": "assistant", "content": "a"}],
        [{"role": "user", "content": [{"type": "image_url"}]}, {"role": "tool"}],
    ):
        with pytest.raises(openai.UnprocessableEntityError, match=nothing_asked):
            create(messages=messages)
    with pytest.raises(openai.UnprocessableEntityError, match="8000 characters"):
        create(messages=[{"role": "user", "content": "x" * 8001}])
    with pytest.raises(openai.UnprocessableEntityError, match="unknown field"):
        create(extra_body={"rag": {"wher": {}}})


def test_keys_and_limits_raise_the_classes_of_the_sdk(base: Base, serve) -> None:
    base.configure(service={"limits": {"requests_per_minute": 1}})
    _, secret = base.keys.create("app")
    url = f"{address(serve(base))}/v1"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=url, api_key="rag_wrong", max_retries=0).models.list()
    sdk = openai.OpenAI(base_url=url, api_key=secret, max_retries=0)
    sdk.models.list()
    with pytest.raises(openai.RateLimitError) as limited:
        sdk.models.list()
    assert int(limited.value.response.headers["retry-after"]) >= 1


def test_a_stream_that_breaks_off_raises(base: Base, serve) -> None:
    with llm_server() as models:
        base.configure(llm={"model": "openai/cut", "api_base": models.url, "api_key": "k"})
        sdk = openai.OpenAI(base_url=f"{address(serve(base))}/v1", api_key="none", max_retries=0)
        stream = sdk.chat.completions.create(model="small", messages=ASKED, stream=True)
        assert any(part.choices and part.choices[0].delta.content for part in stream)
        models.release.set()
        with pytest.raises(openai.APIError, match="broke off half-way"):
            list(stream)


TITLE_TASK = """### Task:
Generate a concise title.
### Output:
JSON format: { "title": "your concise title here" }
### Chat History:
<chat_history>
USER: How many days of leave do I get in Lisbon?
ASSISTANT: 26 days.
</chat_history>"""


def test_a_front_end_s_own_prompts_skip_retrieval(client: openai.OpenAI, ask) -> None:
    task = [{"role": "user", "content": TITLE_TASK}]
    reply = client.chat.completions.create(model="small", messages=task)
    assert reply.choices[0].message.content == '{"title": "How many days of leave do"}'
    assert reply.choices[0].message.annotations == []
    streamed = client.chat.completions.create(model="small", messages=task, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
    assert text == reply.choices[0].message.content


def test_a_configured_model_answers_tasks_as_they_are(base: Base, serve) -> None:
    with llm_server() as models:
        base.configure(llm={"model": "openai/ok", "api_base": models.url, "api_key": "k"})
        body = {"model": "small", "messages": [{"role": "user", "content": TITLE_TASK}]}
        reply = serve(base).post("/v1/chat/completions", json=body)
        assert reply.json()["choices"][0]["message"]["content"] == REPLY
        assert models.requests[-1]["messages"] == body["messages"]
    [line] = base.audit()
    assert (line["task"], line["prompt_tokens"], line["completion_tokens"]) == (True, 70, 11)
    assert "question" not in line


@pytest.mark.parametrize(
    ("prompt", "reply"),
    [
        ('JSON format: { "tags": ["tag1"] }', '{"tags": []}'),
        ('{ "follow_ups": ["Question 1?"] }', '{"follow_ups": []}'),
        ('{ "queries": ["q"] }', '{"queries": []}'),
        ("Say something\nUSER: one two three four five six seven", "one two three four five six"),
        ("Say something", ""),
    ],
)
def test_the_smallest_reply_that_a_front_end_can_read(prompt: str, reply: str) -> None:
    assert _smallest(f"### Task:\n{prompt}") == reply


def test_the_audit_line_of_a_chat(base: Base, serve) -> None:
    client: httpx.Client = serve(base)
    client.post("/v1/chat/completions", json={"model": "small", "messages": ASKED})
    assert refusal(client.post("/v1/chat/completions", json={"messages": "a"}))[0] == 422
    line, refused = base.audit()
    assert (line["question"], line["knowledge_base"]) == (QUESTION, "small")
    assert refused["status"] == 422
