from hypothesis import given
from hypothesis import strategies as st

from rag_assets.cleaning.edits import Edit, apply, edited
from rag_assets.parsing.base import Heading, Page, Parsed


def test_places_move_with_the_text():
    text = "mail a@b.cd now\n\n# Who\n\ncall 12345 or\n\n# When\n\nnow"
    parsed = Parsed(
        text,
        None,
        "text/markdown",
        headings=(Heading(text.index("# Who"), 1, "Who"), Heading(text.index("# When"), 1, "When")),
        pages=(Page(0, 1), Page(text.index("12345"), 2), Page(text.index("now", 30), 3)),
    )
    mail, call = text.index("a@b.cd"), text.index("12345")
    result = edited(parsed, [Edit(mail, mail + 6, "[EMAIL]"), Edit(call, call + 5, "[PHONE]")])
    assert result.text == "mail [EMAIL] now\n\n# Who\n\ncall [PHONE] or\n\n# When\n\nnow"
    assert [result.text[h.start :][:5] for h in result.headings] == ["# Who", "# Whe"]
    assert [result.text[p.start :][:5] for p in result.pages] == ["mail ", "[PHON", "now"]


def test_a_heading_that_is_cut_out_is_dropped_and_a_page_in_it_moves():
    parsed = Parsed(
        "# Menu\n\ntext\n\n# Foot",
        None,
        "text/markdown",
        headings=(Heading(0, 1, "Menu"), Heading(14, 1, "Foot")),
        pages=(Page(0, 1), Page(14, 2)),
    )
    result = edited(parsed, [Edit(0, 8), Edit(12, 20)])
    assert (result.text, result.headings) == ("text", ())
    assert result.pages == (Page(0, 1), Page(3, 2))


@given(st.text(max_size=60), st.lists(st.integers(0, 60), max_size=8), st.text(max_size=4))
def test_marks_outside_of_edits_stay_on_their_character(text, cuts, replacement):
    bounds = sorted({min(cut, len(text)) for cut in cuts})
    edits = [Edit(a, b, replacement) for a, b in zip(bounds[::2], bounds[1::2], strict=False)]
    outside = [i for i in range(len(text)) if not any(e.start <= i < e.end for e in edits)]
    parsed = Parsed(text, None, "x", pages=tuple(Page(place, 1) for place in outside))
    result = edited(parsed, edits)
    assert result.text == apply(text, edits)
    assert [result.text[page.start] for page in result.pages] == [text[i] for i in outside]
