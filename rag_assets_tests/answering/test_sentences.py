import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_assets.answering.sentences import plain, sentences


def texts(text):
    return [sentence.text for sentence in sentences(text)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Pay 3.5 % by 1.2.2026. Done.", ["Pay 3.5 % by 1.2.2026.", "Done."]),
        ("See e.g. the form. Ask Dr. Who.", ["See e.g. the form.", "Ask Dr. Who."]),
        ("J. Smith decides.", ["J. Smith decides."]),
        ('He said "no." Then left.', ['He said "no."', "Then left."]),
        ("First line\nsame sentence.", ["First line\nsame sentence."]),
        ("Para one\n\nPara two", ["Para one", "Para two"]),
        ("Do:\n- one\n- two\n1. three", ["Do:", "- one", "- two", "1. three"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |", ["| a | b |", "| 1 | 2 |"]),
        ("休暇は二十日です。病気は別です！", ["休暇は二十日です。", "病気は別です！"]),
        ("", []),
        ("---\n***", []),
    ],
)
def test_splits_as_a_reader_would(text, wanted):
    assert texts(text) == wanted


def test_headings_name_what_follows_and_are_no_sentences():
    found = sentences("# Leave\n\nTen days.\n\nSick pay\n--------\n\nFull pay.")
    assert [(s.text, s.heading) for s in found] == [
        ("Ten days.", "Leave"),
        ("Full pay.", "Sick pay"),
    ]


@given(st.text(alphabet="aB1. !?\n#-|*`。é", max_size=120))
def test_spans_are_exact_in_order_and_apart(text):
    found = sentences(text)
    assert all(text[s.start : s.end] == s.text == s.text.strip() != "" for s in found)
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("- **Bold** and [a link](x.md)", "Bold and a link"),
        ("2. Open `Harbour`, choose *Time off*", "Open Harbour, choose Time off"),
        ("| Lisbon | 22 days |", "Lisbon; 22 days"),
        ("5 * 3 * 2 and snake_case", "5 * 3 * 2 and snake_case"),
        ("## Title", "Title"),
    ],
)
def test_plain_drops_the_markup(text, wanted):
    assert plain(text) == wanted
