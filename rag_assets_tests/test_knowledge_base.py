"""Searching through the public face, and the token vectors behind its default rerank."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_assets import KnowledgeBase
from rag_assets.embedding.tokens import TokenStore
from rag_assets.errors import BadRequest
from rag_assets.refresh.pipeline import Pipeline
from rag_assets_tests.conftest import SmallBase


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallBase]:
    made = SmallBase(tmp_path_factory.mktemp("public") / "kb")
    made.fill(6)
    assert made.refresh()["promoted"]
    yield made
    made.close()


def tokens(base: SmallBase) -> TokenStore | None:
    return TokenStore.find(Pipeline(base.configure()).store.directory)


def test_search_weighs_and_explains(base: SmallBase) -> None:
    with KnowledgeBase.open(base.path) as knowledge:
        found = knowledge.search("who answers payroll requests", k=3, explain=True)
        assert found[0].doc_id == "docs/payroll.md"
        assert set(found[0].parts) == {"dense", "lexical", "rerank", "feedback"}
        assert all(hit.score == pytest.approx(sum(hit.parts.values())) for hit in found)
        plain = knowledge.search("payroll", weights={"rerank": 0, "feedback": 0}, category="post")
        assert set(plain[0].parts) == {"dense", "lexical", "category"}
        with pytest.raises(BadRequest, match=r"weights: expected numbers .*found"):
            knowledge.search("payroll", weights={"speed": 1})


def test_synonyms_of_the_configuration_count(base: SmallBase) -> None:
    base.configure(retrieval={"mode": "lexical", "synonyms": {"wages": ["payroll"]}})
    with KnowledgeBase.open(base.path) as knowledge:
        assert knowledge.search("wages")[0].doc_id == "docs/payroll.md"
    base.configure(retrieval={"mode": "lexical"})
    with KnowledgeBase.open(base.path) as knowledge:
        assert not knowledge.search("wages")
    base.configure(retrieval={})


def test_token_vectors_are_kept_only_for_the_rerank(tmp_path: Path) -> None:
    base = SmallBase(tmp_path / "kb")
    base.fill(2, paragraphs=1)
    base.configure(retrieval={"rerank": "none"})
    chunks = base.refresh()["chunks"]["added"]
    assert tokens(base) is None
    base.configure(retrieval={"rerank": "tokens"})
    again = base.refresh(full=True)
    assert again["embeddings"]["computed"] == chunks  # token vectors come of another forward pass
    kept = tokens(base)
    assert kept is not None
    assert kept.size()[0] == chunks
    kept.close()
    base.configure(retrieval={"rerank": "none"})
    base.refresh(full=True)
    assert tokens(base) is None
    with KnowledgeBase.open(base.path) as knowledge:
        assert "rerank" not in knowledge.search("payroll")[0].parts
    base.close()
