"""Whatever is asked and however it is ranked, nobody is shown what their groups may not read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_assets.config import RetrievalConfig
from rag_assets.retrieval import SearchRequest, search
from rag_assets.retrieval.aids import Aids
from rag_assets.retrieval.rerank import Reranked
from rag_assets_tests.retrieval.tiny import Doc, WordEncoder, make_version

ENCODER = WordEncoder()
GROUPS = ["everyone", "hr", "it", "board"]
WORDS = "vacation payroll laptop printer parking canteen".split()


def acl_of(number):
    """Every sixth document is for nobody; the others for one or two groups."""
    if number % 6 == 5:
        return []
    return sorted({GROUPS[number % 4], GROUPS[number // 4 % 4]})


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    # Each text stands in five documents of different groups, so that repeats cross groups.
    docs = [
        Doc(
            f"docs/{n}",
            [f"The {WORDS[n % 30 % 6]} rule {n % 30} of hall {n % 30}.", f"Annex {n % 30}."],
            acl=acl_of(n),
            metadata={"n": n},
        )
        for n in range(150)
    ]
    made = make_version(tmp_path_factory.mktemp("access"), docs)
    yield made
    made.close()


class Spy:
    """A reranker that likes what is forbidden most, and remembers what it was shown."""

    depth = 200

    def __init__(self, forbidden):
        self.forbidden = forbidden
        self.seen = set()

    def rerank(self, version, question, chunk_ids):
        self.seen.update(chunk_ids)
        liked = [float(chunk.split("#")[0] in self.forbidden) for chunk in chunk_ids]
        return Reranked(np.array(liked))


@given(
    query=st.lists(st.sampled_from([*WORDS, "rule", "hall", "annex", "$or", "everyone", "board"]))
    .map(" ".join)
    .filter(str.strip),
    groups=st.lists(st.sampled_from([*GROUPS, "*", "", "EVERYONE", "hr,it"]), max_size=3),
    k=st.integers(1, 30),
    mode=st.sampled_from(["hybrid", "dense", "lexical"]),
    duplicates=st.sampled_from([0.5, 0.97, 1.0]),
    section=st.sampled_from([0, 50]),
    where=st.sampled_from(
        [None, {"n": {"$gte": 0}}, {"$or": [{"n": {"$lt": 40}}, {"n": {"$gte": 40}}]}]
    ),
    wordings=st.lists(st.sampled_from(["board secrets", "annex", "payroll rule"]), max_size=2),
    synonyms=st.sampled_from([{}, {"rule": ["annex", "board"]}]),
)
@settings(max_examples=120, deadline=None)
def test_nobody_is_shown_more_than_their_groups(
    version, query, groups, k, mode, duplicates, section, where, wordings, synonyms
):
    readable = {f"docs/{n}" for n in range(150) if set(acl_of(n)) & {"everyone", *groups}}
    spy = Spy({f"docs/{n}" for n in range(150)} - readable)
    config = RetrievalConfig(duplicates=duplicates, section=section, synonyms=synonyms)
    request = SearchRequest(
        query, k, where=where, groups=groups, mode=mode, explain=True, settings=config
    )
    hits = search(version, ENCODER, request, Aids(spy, lambda question: wordings))
    assert {hit.doc_id for hit in hits} <= readable
    assert {place.doc_id for hit in hits for place in hit.also_at} <= readable
    assert {chunk.split("#")[0] for chunk in spy.seen} <= readable
    if mode == "hybrid" and not section:
        assert len(hits) == k  # there are always 30 to be shown


def test_feedback_does_not_tell_of_what_is_hidden(version, tmp_path):
    """Scores are those of an index that never held what the asker may not read."""
    visible = [
        Doc(
            f"docs/{n}",
            [f"The {WORDS[n % 30 % 6]} rule {n % 30} of hall {n % 30}.", f"Annex {n % 30}."],
            acl=acl_of(n),
        )
        for n in range(150)
        if set(acl_of(n)) & {"everyone", "hr"}
    ]
    alone = make_version(tmp_path, visible)
    config = RetrievalConfig.model_validate({"weights": {"lexical": 0}})
    request = SearchRequest("payroll rule", 20, groups=["hr"], settings=config)
    with_all, without = (
        {hit.chunk_id: hit.signals["feedback"] for hit in search(opened, ENCODER, request)}
        for opened in (version, alone)
    )
    assert with_all == pytest.approx(without, abs=1e-4)
    alone.close()
