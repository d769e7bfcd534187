import pytest

from rag_assets.answering.condense import Condenser, by_words
from rag_assets.answering.models import open_models
from rag_assets.config import LlmConfig
from rag_assets.errors import BadRequest
from rag_assets_tests.answering.llm_server import llm_server

HISTORY = [
    {"role": "user", "content": "How many vacation days do I get?"},
    {"role": "assistant", "content": "You get 28 days [1]."},
]
FIRST = HISTORY[0]["content"]


@pytest.mark.parametrize(
    "question",
    [
        "And in Berlin?",
        "What about contractors?",
        "Can I carry them over?",
        "Why?",
        "Is that paid?",
    ],
)
def test_what_points_back_is_asked_with_its_topic(question):
    assert by_words(question, HISTORY) == f"{FIRST} {question}"


@pytest.mark.parametrize(
    "question",
    ["Who repairs printers?", "Is it allowed to smoke in the canteen?", "Are there showers?"],
)
def test_what_stands_alone_is_left_as_it_is(question):
    assert by_words(question, HISTORY) == question


@pytest.mark.parametrize(
    ("before", "question", "asked"),
    [
        (
            "How many days do I get in Lisbon?",
            "And in Berlin?",
            "How many days do I get in Berlin?",
        ),
        ("Who signs in New York for guests?", "and in Porto", "Who signs in Porto for guests?"),
        ("What may be spent on hotels?", "What about on flights?", "What may be spent on flights?"),
        (
            "Is there a limit for meals on the road?",
            "And for hotels?",
            "Is there a limit for meals on the road? And for hotels?",
        ),
        ("What is paid for interns?", "And for them?", "What is paid for interns? And for them?"),
    ],
)
def test_another_ending_takes_the_place_of_the_one_before(before, question, asked):
    assert by_words(question, [{"role": "user", "content": before}]) == asked


def test_a_chain_of_follow_ups_keeps_its_topic():
    history = [*HISTORY, {"role": "user", "content": "And in Berlin?"}]
    assert (
        by_words("What about it there?", history) == f"{FIRST} And in Berlin? What about it there?"
    )
    other = [*history, {"role": "user", "content": "Who repairs printers?"}]
    assert by_words("And theirs?", other) == "Who repairs printers? And theirs?"


def condenser(server, name):
    config = LlmConfig(model=f"openai/{name}", api_base=server.url, api_key="k")
    return Condenser(config, open_models(config)[0])


def test_a_model_rewrites_the_question():
    with llm_server() as server:
        server.reply = '"How many vacation days\ndo I get in Berlin?"\n'
        found = condenser(server, "ok").standalone("And in Berlin?", HISTORY)
        assert found.question == "How many vacation days do I get in Berlin?"
        system, user = server.requests[0]["messages"]
    assert "Do not answer it" in system["content"]
    assert user["content"].endswith("Last question: And in Berlin?")
    assert "assistant: You get 28 days [1]." in user["content"]


@pytest.mark.parametrize("name", ["401", "empty"])
def test_a_model_that_fails_is_done_without(name):
    with llm_server() as server:
        found = condenser(server, name).standalone("And in Berlin?", HISTORY)
    assert found.question == f"{FIRST} And in Berlin?"


def test_an_essay_instead_of_a_question_is_not_used():
    with llm_server() as server:
        server.reply = "word " * 200
        found = condenser(server, "ok").standalone("And in Berlin?", HISTORY)
    assert found.question == f"{FIRST} And in Berlin?"


def test_without_a_history_no_model_is_asked():
    with llm_server() as server:
        assert condenser(server, "ok").standalone("And in Berlin?", []).question == "And in Berlin?"
        assert server.requests == []


def test_a_history_of_another_form_is_refused():
    config = LlmConfig()
    subject = Condenser(config, open_models(config)[0])
    with pytest.raises(BadRequest, match=r"history\.0: expected role"):
        subject.standalone("a", [{"role": "system", "content": "x"}])
