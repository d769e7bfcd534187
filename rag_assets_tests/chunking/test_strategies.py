from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_assets.chunking.chunks import chunk_documents
from rag_assets.chunking.context import CONTEXT_TOKENS, context_of
from rag_assets.chunking.counting import token_counts
from rag_assets.chunking.sentences import sentence_spans
from rag_assets.config import ChunkingConfig
from rag_assets.records import DOCUMENTS
from rag_assets_tests.chunking.test_split import assert_sound, chunks_of

PYTHON = '''import os


class Basket:
    """What a visitor wants to buy."""

    def add(self, article, count):
        """Put articles into it."""
        self.articles[article] = self.articles.get(article, 0) + count
        return self.articles

    def remove(self, article):
        """Take an article out again."""
        return self.articles.pop(article, None)


def price_of(basket, prices):
    return sum(prices[article] * count for article, count in basket.articles.items())
'''


def sentences(text):
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("One day. Two days! Three?", ["One day.", "Two days!", "Three?"]),
        ("Ask Dr. Smith. He knows.", ["Ask Dr. Smith.", "He knows."]),
        ("See e.g. Annex 3, No. 4.", ["See e.g. Annex 3, No. 4."]),
        ('He said "Go." She went.', ['He said "Go."', "She went."]),
        ("It costs 3.50 a day. Fine.", ["It costs 3.50 a day.", "Fine."]),
        (
            "有給休暇は年に二十日です。申請は五日前まで。",
            ["有給休暇は年に二十日です。", "申請は五日前まで。"],
        ),
        ("A title\n\nand text below it", ["A title", "and text below it"]),
        (" \n ", []),
    ],
)
def test_sentences(text, wanted):
    assert sentences(text) == wanted


@given(st.text(alphabet=" \n.!?。aB\"')", max_size=60))
def test_sentences_lose_nothing(text):
    spans = list(sentence_spans(text))
    assert all(left[1] <= right[0] for left, right in pairwise(spans))
    kept = bytearray(len(text))
    for start, end in spans:
        assert text[start:end] == text[start:end].strip() != ""
        kept[start:end] = b"\1" * (end - start)
    assert "".join(c for c, seen in zip(text, kept, strict=True) if not seen).strip() == ""


def test_sentence_chunks_begin_and_end_with_sentences(tokenizer):
    text = " ".join(f"Rule {n} holds for desk {n * 7}." for n in range(120))
    every = sentences(text)
    chunks = chunks_of(text, tokenizer, size=40, overlap=10, strategy="sentence")
    assert_sound(text, chunks, 40)
    for chunk in chunks:
        assert chunk.text.startswith("Rule ")
        assert chunk.text.endswith(".")
    for left, right in pairwise(chunks):
        shared = text[right.start : left.end]
        assert shared in every
        assert token_counts([shared], tokenizer)[0] <= 10


def test_a_sentence_that_is_too_long_is_cut(tokenizer):
    text = "Short one. Very " + "very " * 300 + "long. Short two."
    chunks = chunks_of(text, tokenizer, size=64, overlap=0, strategy="sentence")
    assert_sound(text, chunks, 64)
    assert (chunks[0].text, chunks[-1].text) == ("Short one.", "Short two.")


@settings(max_examples=60, deadline=None)
@given(
    text=st.lists(st.sampled_from([*"aB .!?\n。é漢", "word "]), max_size=300).map("".join),
    size=st.integers(8, 40),
    overlap=st.integers(0, 7),
)
def test_sentence_chunks_are_sound(text, size, overlap, tokenizer):
    chunks = chunks_of(text, tokenizer, size=size, overlap=overlap, strategy="sentence")
    assert_sound(text, chunks, size)


def test_code_is_cut_at_definitions(tokenizer):
    pytest.importorskip("tree_sitter_python")
    chunks = chunks_of(PYTHON, tokenizer, size=60, overlap=0, kind="text/x-python", strategy="code")
    assert_sound(PYTHON, chunks, 60)
    texts = [chunk.text for chunk in chunks]
    assert any(text.startswith("def remove") and text.endswith("(article, None)") for text in texts)
    assert texts[-1].startswith("def price_of")


def test_code_without_a_grammar_is_text(tokenizer):
    yaml = "key: value\n" * 50
    options = {"size": 40, "overlap": 0, "kind": "text/x-yaml"}
    assert chunks_of(yaml, tokenizer, strategy="code", **options) == chunks_of(
        yaml, tokenizer, strategy="text", **options
    )


def test_context_is_the_way_to_the_chunk(tokenizer):
    assert context_of("Guide", ["Guide", "Leave"], tokenizer) == "Guide › Leave"
    assert context_of(None, [], tokenizer) == ""
    long = context_of("Guide " * 200, ["Leave"], tokenizer)
    assert long.endswith("› Leave")
    assert token_counts([long], tokenizer) == [CONTEXT_TOKENS]


def documents(text, title):
    row = dict.fromkeys(DOCUMENTS.names())
    row |= {"doc_id": "docs/a.md", "source": "docs", "partition": "docs:00", "text": text}
    row |= {"title": title, "media_type": "text/markdown", "digest": title, "pages": []}
    row["headings"] = [{"start": 0, "level": 1, "title": "Leave"}]
    return pl.DataFrame([row], schema=DOCUMENTS)


def test_context_is_embedded_but_not_shown(tokenizer):
    config = ChunkingConfig.model_validate({"default": {"size": 254, "context": True}})
    text = "# Leave\n\n" + "Thirty days a year for everybody. " * 100

    def cut(title):
        return chunk_documents(documents(text, title), None, config, tokenizer, 256).frame

    chunks = cut("Guide")
    assert chunks.height > 1
    for row in chunks.iter_rows(named=True):
        assert text[row["start"] : row["end"]] == row["text"]
        assert row["embed_text"] == f"Guide › Leave\n{row['text']}"
    assert max(token_counts(chunks["embed_text"].to_list(), tokenizer)) <= 254
    renamed = cut("Manual")
    assert not set(renamed["chunk_id"]) & set(chunks["chunk_id"])
    assert not set(renamed["text_key"]) & set(chunks["text_key"])
