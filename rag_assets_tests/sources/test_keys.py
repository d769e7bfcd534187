from hypothesis import given
from hypothesis import strategies as st

from rag_assets.sources.keys import Keys

pages = st.lists(st.lists(st.sampled_from([*"abcdefgh", "ä", "", "a b", "x" * 40]), min_size=1))


@given(pages, st.sampled_from(["a", "ä", "nowhere", ""]), st.integers(1, 5))
def test_keys_are_told_apart_and_kept_in_order(pages, asked, count):
    keys, seen = Keys(), set()
    for page in pages:
        expected = []
        for key in page:
            expected.append(key in seen)
            seen.add(key)
        assert keys.add(page) == expected
    ordered = sorted(seen)
    wanted = ordered[ordered.index(asked) :][:count] if asked in seen else []
    assert keys.from_on(asked, count) == wanted
    assert keys.add(["a", "new"]) == ["a" in seen, False]
    assert keys.from_on("new", 1) == ["new"]
