from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from rag_assets.answering.base import Answer
from rag_assets.config import CacheConfig
from rag_assets.index.versions import Pointer
from rag_assets.service.asking import Asker, Question
from rag_assets.service.cache import AnswerCache, CacheKey
from rag_assets.service.principals import Principal


def answer(version: int = 1, **changes: object) -> Answer:
    fields = {"text": "a", "citations": (), "confidence": 1.0, "needs_review": False}
    return Answer(**{**fields, "index_version": version, "model": "m", **changes})


def test_every_part_of_a_key_counts() -> None:
    cache = AnswerCache(CacheConfig())
    key = CacheKey.of("kb", 1, "e", "question", ["hr"], None)
    cache.put(key, answer())
    assert cache.get(CacheKey.of("kb", 1, "e", "question", ["hr"], None)) == answer()
    for other in (
        CacheKey.of("kb", 1, "e", "question", ["it"], None),
        CacheKey.of("kb", 1, "e", "question", None, ["hr"]),
        CacheKey.of("kb", 1, "e", "question?", ["hr"], None),
        CacheKey.of("other", 1, "e", "question", ["hr"], None),
    ):
        assert cache.get(other) is None


def test_the_oldest_goes_first() -> None:
    cache = AnswerCache(CacheConfig(entries=2))
    one, two, three = (CacheKey.of("kb", 1, "e", number) for number in range(3))
    cache.put(one, answer())
    cache.put(two, answer())
    assert cache.get(one)
    cache.put(three, answer())
    assert [cache.get(key) is not None for key in (one, two, three)] == [True, False, True]


def test_another_live_version_clears_what_was_answered_before_it() -> None:
    cache = AnswerCache(CacheConfig())
    live, asked_for, other = (
        CacheKey.of("kb", 2, "e", "q"),
        CacheKey.of("kb", 1, "e", "q"),
        CacheKey.of("b", 1, "e", "q"),
    )
    for _ in range(2):
        cache.serve("kb", 2, "e")
        cache.serve("b", 1, "e")
        for key in (live, asked_for, other):
            cache.put(key, answer(key.index_version))
    assert all(cache.get(key) for key in (live, asked_for, other))
    for version, edition in ((3, "e"), (3, "another edition")):
        cache.serve("kb", version, edition)
        assert [cache.get(key) is not None for key in (live, asked_for, other)] == [0, 0, 1]
        cache.put(live, answer(2))


def test_old_degraded_and_late_answers_are_not_kept() -> None:
    cache = AnswerCache(CacheConfig(seconds=1e-9))
    key = CacheKey.of("kb", 1, "e", "q")
    cache.put(key, answer())
    assert cache.get(key) is None
    cache = AnswerCache(CacheConfig())
    cache.put(key, answer(degraded=True))
    # Asked while version 1 was live, answered from version 2.
    cache.put(key, answer(version=2))
    assert len(cache) == 0


@given(
    st.lists(st.lists(st.sampled_from(["hr", "it", "board"]), unique=True), min_size=2, max_size=2),
    st.sampled_from([None, [], ["hr"], ["hr", "board"]]),
)
def test_who_may_read_differently_has_another_key(groups, asked):
    keys, readable = [], []
    for own in groups:
        arguments = Question("q", groups=asked).arguments(Principal("p", "p", tuple(own)))
        shelf = SimpleNamespace(
            name="kb",
            versions=SimpleNamespace(live=lambda: Pointer(1, None, "e")),
            config=SimpleNamespace(llm=SimpleNamespace(model="extractive")),
            knowledge=SimpleNamespace(prompt_version="1"),
        )
        keys.append(Asker._key(None, shelf, Question("q", groups=asked), arguments))
        readable.append(sorted(arguments["groups"]))
    assert (keys[0] == keys[1]) == (readable[0] == readable[1])


def test_an_erasure_clears_a_version_that_keeps_its_number() -> None:
    cache = AnswerCache(CacheConfig())
    before, after = CacheKey.of("kb", 1, "e", "q"), CacheKey.of("kb", 1, "f", "q")
    cache.serve("kb", 1, "e")
    cache.put(before, answer())
    cache.serve("kb", 1, "f")
    assert cache.get(after) is None
    assert cache.get(before) is None
