import random

from hypothesis import given
from hypothesis import strategies as st

from rag_assets.cleaning import sketch
from rag_assets.cleaning.duplicates import near_duplicates as of_sketches

WORDS = [f"{a}{b}" for a in "bcdfghjklmnp" for b in ("al", "en", "ir", "ot", "um")]


def near_duplicates(texts, **settings):
    return of_sketches([(name, sketch(text)) for name, text in texts], **settings)


def prose(seed, length=200):
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def changed(text, seed, share):
    chosen = random.Random(seed)
    words = text.split()
    for place in chosen.sample(range(len(words)), int(share * len(words))):
        words[place] = f"changed{place}"
    return " ".join(words)


def test_equal_and_nearly_equal_texts_are_grouped():
    texts = [
        ("a", prose(1)),
        ("b", prose(2)),
        ("c", prose(1).upper() + "."),
        ("d", changed(prose(2), 0, 0.02)),
        ("e", prose(3)),
        ("f", changed(prose(3), 0, 0.5)),
    ]
    assert near_duplicates(texts) == [("a", "c"), ("b", "d")]


def test_the_threshold_decides():
    texts = [("a", prose(1)), ("b", changed(prose(1), 0, 0.05))]
    assert near_duplicates(texts, threshold=0.6) == [("a", "b")]
    assert near_duplicates(texts, threshold=0.95) == []


def test_likeness_does_not_travel():
    first = prose(1)
    second = changed(first, 1, 0.03)
    third = changed(second, 2, 0.03)
    groups = near_duplicates([("1", first), ("2", second), ("3", third)], threshold=0.78)
    assert groups[0][:2] == ("1", "2")


def test_short_and_unspaced_texts():
    japanese = "従業員は三月まで五日間の休暇を繰り越すことができます。" * 3
    texts = [("a", "Yes."), ("b", "yes"), ("c", "No."), ("d", ""), ("e", "!")]
    texts += [("f", japanese), ("g", japanese.replace("五", "六", 1))]
    assert near_duplicates(texts) == [("a", "b"), ("d", "e"), ("f", "g")]


def test_planted_copies_among_thousands_are_found():
    texts = [(f"o{i}", prose(i)) for i in range(2000)]
    texts += [(f"c{i}", changed(prose(i), i, 0.02)) for i in range(0, 2000, 10)]
    groups = near_duplicates(texts)
    found = {copy for group in groups for copy in group[1:]}
    assert all(len(group) == 2 and group[0][1:] == group[1][1:] for group in groups)
    assert len(found) >= 190


@given(st.lists(st.text(max_size=40), max_size=12))
def test_groups_are_disjoint_and_equal_texts_share_one(texts):
    named = [(str(i), text) for i, text in enumerate(texts)]
    groups = near_duplicates(named)
    members = [member for group in groups for member in group]
    assert len(members) == len(set(members))
    place = {member: group for group in groups for member in group}
    for i, left in enumerate(texts):
        for j in range(i):
            if texts[j] == left:
                assert str(j) in place[str(i)]
