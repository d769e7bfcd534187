from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_assets.chunking import Chunk, chunk
from rag_assets.cleaning import Repetition, clean, line_keys
from rag_assets.config import ChunkProfile, FilesConfig
from rag_assets.parsing import Heading, Page, Unparseable, parse

LIMIT = 256
OFF = FilesConfig(name="docs", type="files", path="/docs")
REDACT = OFF.model_copy(update={"pii": OFF.pii.model_copy(update={"mode": "redact"})})


def chunks_of(
    text,
    tokenizer,
    *,
    size=256,
    overlap=32,
    kind="text/plain",
    headings=(),
    pages=(),
    strategy="auto",
):
    return chunk(
        text,
        media_type=kind,
        headings=headings,
        pages=pages,
        profile=ChunkProfile(strategy=strategy, size=size, overlap=overlap),
        tokenizer=tokenizer,
        max_tokens=LIMIT,
    )


def assert_sound(text, chunks, limit):
    """Spans are exact and in order, no visible character is lost, no chunk is too large."""
    covered = bytearray(len(text))
    for piece in chunks:
        assert text[piece.start : piece.end] == piece.text
        assert 0 <= piece.tokens <= limit
        assert len(piece.text) <= 16 * limit
        covered[piece.start : piece.end] = b"\1" * (piece.end - piece.start)
    starts = [piece.start for piece in chunks]
    assert starts == sorted(starts)
    lost = {text[i] for i, seen in enumerate(covered) if not seen}
    assert "".join(lost).strip() == ""


def test_a_short_text_is_one_chunk(tokenizer):
    assert chunks_of("Employees get 30 days of leave.", tokenizer) == [
        Chunk("Employees get 30 days of leave.", 0, 31, 7, (), None)
    ]


def test_nothing_comes_of_nothing(tokenizer):
    assert chunks_of("", tokenizer) == []
    assert chunks_of(" \n\n ", tokenizer) == []


def test_heading_path_and_page_are_those_of_the_start(tokenizer):
    text = "# Guide\n\nHello there.\n\n## Leave\n\nThirty days a year.\n\n# Contact\n\nAsk Ines."
    headings = [
        Heading(0, 1, "Guide"),
        Heading(text.index("## Leave"), 2, "Leave"),
        Heading(text.index("# Contact"), 1, "Contact"),
    ]
    pages = [Page(0, 1), Page(text.index("## Leave"), 2)]
    chunks = chunks_of(
        text, tokenizer, size=10, overlap=0, kind="text/markdown", headings=headings, pages=pages
    )
    assert [(c.text, c.headings, c.page) for c in chunks] == [
        ("# Guide\n\nHello there.", ("Guide",), 1),
        ("## Leave\n\nThirty days a year.", ("Guide", "Leave"), 2),
        ("# Contact\n\nAsk Ines.", ("Contact",), 2),
    ]


def test_text_above_the_first_heading_has_no_path(tokenizer):
    chunks = chunks_of("Preface.\n\n# One", tokenizer, headings=[Heading(10, 1, "One")])
    assert chunks[0].headings == ()


def test_the_models_limit_leaves_room_for_special_tokens(tokenizer):
    text = "word " * 2000
    chunks = chunks_of(text, tokenizer, size=512, overlap=0)
    assert max(piece.tokens for piece in chunks) == LIMIT - 2


def test_neighbours_overlap_by_at_most_the_profile(tokenizer):
    text = " ".join(f"Sentence number {i} says a little." for i in range(200))
    chunks = chunks_of(text, tokenizer, size=64, overlap=16)
    for left, right in pairwise(chunks):
        shared = text[right.start : left.end]
        assert shared
        assert len(tokenizer.encode(shared, add_special_tokens=False).tokens) >= 1
        assert chunks_of(shared, tokenizer)[0].tokens <= 16


def test_a_code_block_that_fits_stays_whole(tokenizer):
    code = "```python\n" + "\n".join(f"total_{i} = rate * {i}" for i in range(12)) + "\n```"
    text = "# A\n\n" + "Words before it. " * 25 + "\n\n" + code + "\n\n" + "Words behind. " * 25
    chunks = chunks_of(text, tokenizer, size=160, overlap=0, kind="text/markdown")
    assert sum(code in piece.text for piece in chunks) == 1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x" * 2_000_000, id="2 MB without a space"),
        pytest.param("漢字" * 30_000, id="60,000 characters of Chinese"),
        pytest.param("これは文です。" * 5_000, id="Japanese sentences"),
        pytest.param("QUJD+/9z" * 12_000, id="base64"),
        pytest.param("x" + " " * 50_000 + "y", id="a run of spaces"),
        pytest.param(("y" * 1_900 + " ") * 200, id="many words of 1,900 characters"),
        pytest.param("<|endoftext|> [CLS] [SEP] " * 300, id="special tokens as text"),
        pytest.param("👩‍👩‍👧 é \u200b" * 500, id="emoji, combining and invisible characters"),
        pytest.param("a\n\n\nb\n\n\n" * 3_000, id="newlines"),
        pytest.param("> " * 5_000 + "deep", id="nested quotes"),
        pytest.param("- a\n  " * 3_000, id="a broken list"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "strategy"),
    [("text/plain", "auto"), ("text/markdown", "auto"), ("text/plain", "sentence")],
)
def test_hostile_text_is_chunked_soundly(text, kind, strategy, tokenizer):
    assert_sound(text, chunks_of(text, tokenizer, kind=kind, strategy=strategy), LIMIT - 2)


# fmt: off
_PIECES = st.sampled_from([
    "# Title\n", "\n\n", "word ", "- item\n", "| a | b |\n", "---\n", "===\n", "1. one\n", "漢字。",
    "é", "👩‍👧 ", "\u200d", "\x00", "\t", "    code\n", "```", "~~~", "> ", "<b>", "<!--", "-->",
    "&amp;", "a@example.org ", "[a](b) ", "{", "}", ",", '"', "%PDF-", "Author: a\n", "x" * 120,
])
# fmt: on


@settings(max_examples=300, deadline=None)
@given(
    text=st.one_of(st.text(max_size=400), st.lists(_PIECES, max_size=120).map("".join)),
    name=st.sampled_from(["a.md", "a.rst", "a.txt", "a.html", "a.csv", "a.json"]),
    size=st.integers(8, 300),
    overlap=st.integers(0, 7),
    source=st.sampled_from([OFF, REDACT]),
    repeated=st.sampled_from([0, 2, 3]),
)
def test_parse_clean_chunk_never_fails_and_loses_nothing(
    text, name, size, overlap, source, repeated, tokenizer
):
    try:
        parsed = parse(text.encode("utf-8", "surrogatepass"), name)
    except Unparseable:
        return
    lines = [line for line in line_keys(parsed.text) if repeated and line % repeated == 0]
    repetition = Repetition(dict.fromkeys(lines, "docs/0"))
    parsed = clean("docs/a", parsed, source, repetition)
    chunks = chunks_of(
        parsed.text,
        tokenizer,
        size=size,
        overlap=overlap,
        kind=parsed.media_type,
        headings=parsed.headings,
        pages=parsed.pages,
    )
    assert_sound(parsed.text, chunks, min(size, LIMIT - 2))
    starts = [heading.start for heading in parsed.headings]
    assert starts == sorted(starts)
    assert all(0 <= start < len(parsed.text) for start in starts)
