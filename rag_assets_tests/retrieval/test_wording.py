import pytest

from rag_assets.config import RetrievalConfig
from rag_assets.errors import LlmError
from rag_assets.retrieval import SearchRequest, search
from rag_assets.retrieval.aids import Aids
from rag_assets.retrieval.wording import expanded, read_wordings, rewriter
from rag_assets_tests.retrieval.tiny import Doc, WordEncoder, make_version

ENCODER = WordEncoder()


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("How much PTO do I get?", "How much PTO (paid time off) do I get?"),
        ("is it broken", "is it broken"),
        ("ask IT", "ask IT (service desk)"),
        ("Laptops and laptop bags", "Laptops and laptop (notebook, computer) bags"),
        ("my notebook laptop", "my notebook laptop (computer)"),
        ("PTOs", "PTOs"),
        ("paid time off is PTO", "paid time off is PTO"),
    ],
)
def test_terms_bring_their_other_words(query, wanted):
    synonyms = {
        "PTO": ["paid time off"],
        "IT": ["service desk"],
        "laptop": ["notebook", "computer"],
    }
    assert expanded(query, synonyms) == wanted


def test_wordings_are_read_from_any_list():
    reply = '1. paid holidays\n- "annual leave"\n\n2) paid holidays\nholidays?\n* more\n'
    reply += "x" * 400
    assert read_wordings(reply, "holidays?", 3) == ["paid holidays", "annual leave", "more"]
    assert read_wordings("", "holidays?", 3) == []


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    texts = {
        "leave": "Annual leave is thirty days.",
        "secret": "Annual leave of directors.",
        "lunch": "Lunch is at noon.",
        "desk": "The desk is oak.",
    }
    docs = [
        Doc(f"docs/{name}.md", [text], acl=["board"] if name == "secret" else ["everyone"])
        for name, text in texts.items()
    ]
    version = make_version(tmp_path_factory.mktemp("wording"), docs)
    yield version
    version.close()


def lexical(version, query, aids=None, groups=None, **settings):
    given = RetrievalConfig.model_validate(settings)
    request = SearchRequest(query, 5, groups=groups, mode="lexical", settings=given)
    return [hit.doc_id for hit in search(version, ENCODER, request, aids)]


def test_a_synonym_finds_what_the_query_does_not_say(version):
    assert lexical(version, "PTO") == []
    assert "docs/leave.md" in lexical(version, "PTO", synonyms={"PTO": ["annual leave"]})


def test_rewrites_are_searched_too_under_the_same_filter(version):
    aids = Aids(rewrite=lambda question: ["annual leave", "oak"])
    assert set(lexical(version, "holidays", aids)) == {
        "docs/leave.md",
        "docs/secret.md",
        "docs/desk.md",
    }
    seen = lexical(version, "holidays", aids, groups=["staff"])
    assert set(seen) == {"docs/leave.md", "docs/desk.md"}


def test_without_its_model_the_question_stands_alone(version, caplog):
    def unreachable(prompt):
        raise LlmError("model at http://127.0.0.1:1: refused")

    aids = Aids(rewrite=rewriter(unreachable, 3))
    assert lexical(version, "lunch", aids) == ["docs/lunch.md"]
    assert "searched in its own words only" in caplog.text
