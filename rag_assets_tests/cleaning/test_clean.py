from hypothesis import given, settings
from hypothesis import strategies as st

from rag_assets.cleaning import clean
from rag_assets.config import FilesConfig
from rag_assets.parsing import Parsed, Unparseable, parse

PLAIN = FilesConfig(name="docs", type="files", path="/docs")
REDACTING = PLAIN.model_copy(update={"pii": PLAIN.pii.model_copy(update={"mode": "redact"})})


def test_the_text_tells_the_language_and_the_document_only_where_it_does_not():
    english = Parsed("The days of leave are thirty a year.", None, "x", metadata={"language": "de"})
    assert clean("docs/a", english, PLAIN).metadata == {"language": "en"}
    unclear = Parsed("1234", None, "x", metadata={"language": "pt_BR", "author": "Ana"})
    assert clean("docs/a", unclear, PLAIN).metadata == {"language": "pt", "author": "Ana"}
    silent = Parsed("1234", None, "x")
    assert clean("docs/a", silent, PLAIN).metadata == {}


@settings(deadline=None)
@given(
    st.text(max_size=300),
    st.sampled_from(["a.md", "a.rst", "a.txt", "a.html", "a.csv", "a.json", "a.py"]),
)
def test_nothing_is_lost_and_nothing_invented_without_a_reason(text, name):
    try:
        parsed = parse(text.encode("utf-8", "surrogatepass"), name)
    except Unparseable:
        return
    cleaned = clean("docs/a", parsed, PLAIN)
    assert cleaned.text == parsed.text
    assert cleaned.headings == parsed.headings


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["a@example.org", "+49 30 1234567", "# H", "\n\n", " ", "4111111111111111"])
        | st.text(max_size=10),
        max_size=30,
    ).map("".join)
)
def test_redaction_leaves_sound_places(text):
    try:
        parsed = parse(text.encode("utf-8", "surrogatepass"), "a.md")
    except Unparseable:
        return
    cleaned = clean("docs/a", parsed, REDACTING)
    assert "a@example.org " not in f"{cleaned.text} "
    for heading in cleaned.headings:
        assert 0 <= heading.start < len(cleaned.text)
