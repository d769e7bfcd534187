"""The fast count of tokens against the tokenizer's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from rag_assets.chunking.counting import token_counts, word_sums
from rag_assets.chunking.split import chunk
from rag_assets.config import ChunkProfile


def test_words_add_up_to_the_text(tokenizer):
    sums = word_sums(tokenizer)

    @given(st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from(" \n\tÄ有a'-")))
    def same(text):
        assert sums(text) == token_counts([text], tokenizer)[0]

    same()


def test_a_tokenizer_whose_words_depend_on_their_neighbours_is_asked_itself(tokenizer):
    assert word_sums(tokenizer) is not None
    metaspace = Tokenizer(models.BPE())
    metaspace.pre_tokenizer = pre_tokenizers.Metaspace()
    assert word_sums(metaspace) is None
    assert word_sums(Tokenizer(models.BPE())) is None


@pytest.mark.parametrize("odd", ["\x1c", "\u200b", "\x85", "\x00", "\u00ad"])
def test_what_the_sums_misjudge_never_makes_a_chunk_too_large(tokenizer, odd):
    text = " ".join(f"inter{odd}national{odd}ization{number}" for number in range(400))
    pieces = chunk(
        text,
        media_type="text/plain",
        headings=[],
        pages=[],
        profile=ChunkProfile(size=64, overlap=8),
        tokenizer=tokenizer,
        max_tokens=256,
    )
    assert len(pieces) > 1
    assert max(piece.tokens for piece in pieces) <= 64
