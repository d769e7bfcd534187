from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from rag_assets.config import RetrievalConfig
from rag_assets.errors import LlmError
from rag_assets.retrieval.aids import Aids
from rag_assets.retrieval.base import SearchRequest
from rag_assets.retrieval.rerank import Reranked
from rag_assets.retrieval.search import search
from rag_assets_tests.retrieval.tiny import Doc, WordEncoder, make_version

ENCODER = WordEncoder()
NOW = datetime(2026, 6, 1, tzinfo=UTC)
RULE = "The {} rule about parking and permits."


class Grades:
    """A reranker that likes some chunks."""

    def __init__(self, liked, depth=10):
        self.liked = liked
        self.depth = depth
        self.given = []

    def rerank(self, version, question, chunk_ids):
        self.given = list(chunk_ids)
        return Reranked(np.array([self.liked.get(chunk_id, np.nan) for chunk_id in chunk_ids]))


class Broken:
    depth = 10

    def rerank(self, version, question, chunk_ids):
        raise LlmError("model: refused")


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    names = ["old", "new", "plain", "undated"]
    ages = {"old": 730, "new": 0, "plain": 365}
    docs = [
        Doc(
            f"{'wiki' if name == 'plain' else 'docs'}/{name}.md",
            [RULE.format(name)],
            title=name,
            category="policy" if name == "new" else "article" if name == "old" else None,
            modified_at=NOW - timedelta(days=ages[name]) if name in ages else None,
        )
        for name in names
    ]
    version = make_version(tmp_path_factory.mktemp("scored"), docs)
    yield version
    version.close()


def found(version, query="parking permits", aids=None, settings=None, **options):
    given = RetrievalConfig.model_validate({"duplicates": 1.0, **(settings or {})})
    request = SearchRequest(query, now=NOW, settings=given, k=10, **options)
    return search(version, ENCODER, request, aids)


def by_title(hits):
    return {hit.title: hit for hit in hits}


def test_the_score_is_the_sum_of_its_parts(version):
    weights = {"recency": 0.5, "trust": 0.3, "category": 0.2}
    hits = found(version, settings={"weights": weights}, category="policy")
    assert len(hits) == 4
    for hit in hits:
        assert set(hit.parts) >= {"dense", "lexical", "category", "recency", "trust", "feedback"}
        assert hit.score == pytest.approx(sum(hit.parts.values()))


def test_recency_halves_with_every_half_life(version):
    hits = by_title(found(version, settings={"weights": {"recency": 2.0}}))
    assert hits["new"].signals["recency"] == pytest.approx(1.0)
    assert hits["plain"].signals["recency"] == pytest.approx(0.5)
    assert hits["old"].signals["recency"] == pytest.approx(0.25)
    assert hits["old"].parts["recency"] == pytest.approx(0.5)
    assert next(iter(hits)) == "new"


def test_the_category_asked_for_leads_and_others_are_penalised(version):
    hits = by_title(found(version, settings={"weights": {"category": 1.0}}, category="policy"))
    assert next(iter(hits)) == "new"
    assert hits["new"].parts["category"] == 1.0
    assert hits["old"].parts["category"] == hits["plain"].parts["category"] == -5.0
    unasked = found(version, settings={"weights": {"category": 1.0}})
    assert all("category" not in hit.signals for hit in unasked)


def test_trust_is_that_of_the_source(version):
    trust = {"wiki": 0.2}
    hits = by_title(found(version, settings={"weights": {"trust": 5.0}}, trust=trust))
    assert hits["plain"].signals["trust"] == 0.2
    assert hits["old"].signals["trust"] == 1.0
    assert list(hits)[-1] == "plain"


def test_the_only_passage_with_a_word_wins(version):
    hits = found(version, "undated", settings={"weights": {"feedback": 0}})
    assert hits[0].title == "undated"
    assert hits[0].signals["lexical"] > 0
    assert "lexical" not in hits[1].signals
    assert hits[0].parts["lexical"] > hits[1].parts["lexical"]


def test_a_reranker_decides_with_its_weight(version):
    liked = {"docs/old.md#0": 9.0, "docs/undated.md#0": 1.0}
    [first, *_] = found(version, "new rule", Aids(Grades(liked)), {"weights": {"rerank": 8.0}})
    assert (first.title, first.signals["rerank"]) == ("old", 9.0)
    [first, *_] = found(version, "new rule", Aids(Grades(liked)), {"weights": {"rerank": 0.0}})
    assert first.title == "new"
    assert "rerank" not in first.signals


def test_a_reranker_sees_only_the_best_and_the_rest_stay_below(version):
    grades = Grades({"docs/new.md#0": 1.0, "docs/old.md#0": 1.5}, depth=2)
    hits = found(version, "new old rule", Aids(grades), {"weights": {"feedback": 0}})
    assert sorted(grades.given) == ["docs/new.md#0", "docs/old.md#0"]
    lowest = min(hit.parts["rerank"] for hit in hits[:2])
    assert all(hit.parts["rerank"] == lowest for hit in hits[2:])
    assert all("rerank" not in hit.signals for hit in hits[2:])


def test_a_failing_reranker_leaves_the_order_of_the_legs(version, caplog):
    plain = found(version, "new rule", settings={"rerank": "none"})
    broken = found(version, "new rule", Aids(Broken()))
    assert [hit.chunk_id for hit in broken] == [hit.chunk_id for hit in plain]
    assert "refused; passages are not reranked" in caplog.text


def test_reciprocal_rank_fusion_by_hand(version):
    settings = {"fusion": "rrf", "rerank": "none", "weights": {"feedback": 0}}
    first = found(version, "undated parking", settings=settings)[0]
    assert first.title == "undated"
    assert first.parts["dense"] == first.parts["lexical"] == pytest.approx(0.5 * 60 / 61)


def test_explain_fills_in_what_the_other_leg_did_not_find(version):
    plain = by_title(found(version, "undated", mode="lexical"))
    assert set(plain) == {"undated"}
    explained = by_title(found(version, "parking", mode="dense", explain=True))
    assert all({"dense", "lexical"} == set(hit.signals) for hit in explained.values())
    assert all(set(hit.parts) == {"dense"} for hit in explained.values())
