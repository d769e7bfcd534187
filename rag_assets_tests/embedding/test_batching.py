import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rag_assets.embedding.batching import distinct, padded, plan_batches

LENGTHS = st.lists(st.integers(2, 256), max_size=200)


@given(LENGTHS, st.integers(1, 4096))
def test_every_text_is_in_exactly_one_batch_within_the_budget(lengths, budget):
    batches = plan_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


@given(LENGTHS, st.integers(1, 4096))
def test_batches_go_from_long_to_short(lengths, budget):
    in_order = [lengths[index] for batch in plan_batches(lengths, budget) for index in batch]
    assert in_order == sorted(lengths, reverse=True)


@given(st.lists(st.text(max_size=2), max_size=30))
def test_distinct_texts_and_their_positions_rebuild_the_list(texts):
    different, positions = distinct(texts)
    rebuilt = [""] * len(texts)
    for text, places in zip(different, positions, strict=True):
        for place in places:
            rebuilt[place] = text
    assert rebuilt == texts
    assert len(set(different)) == len(different)


def test_padding_is_zero_and_masked():
    tokens, mask = padded([np.array([5, 6, 7], np.int32), np.array([8], np.int32)])
    assert tokens.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert tokens.dtype == mask.dtype == np.int64
