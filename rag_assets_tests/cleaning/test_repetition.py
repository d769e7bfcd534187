import polars as pl

from rag_assets.cleaning.repetition import LINES, Repetition, line_keys, without_lines
from rag_assets.cleaning.repetition import measure as measure_lines
from rag_assets.parsing.base import Heading, Parsed

MENU = "Home\nProducts\nSupport\nCareers"
FOOTER = "---\n\n© 2026 Acme Inc.\nImprint · Privacy"


def page(number, *, menu=MENU, footer=FOOTER):
    own = f"# Topic {chr(97 + number)}{number}\n\nOnly here: fact {chr(97 + number) * 5}."
    return "\n\n".join(part for part in (menu, own, footer) if part)


def pages(count=12):
    return {f"web/{i:02d}": page(i) for i in range(count)}


def measure(documents, share):
    rows = [(doc_id, line_keys(text)) for doc_id, text in documents]
    return measure_lines(pl.DataFrame(rows, schema=LINES, orient="row"), share)


def without(doc_id, parsed, repetition):
    return without_lines(parsed, repetition.left_out(doc_id, line_keys(parsed.text)))


def cleaned(doc_id, text, repetition):
    return without(doc_id, Parsed(text, None, "text/markdown"), repetition)


def test_menus_and_footers_stay_in_the_first_document_only():
    documents = pages()
    repetition = measure(documents.items(), 0.6)
    assert cleaned("web/00", documents["web/00"], repetition).text == documents["web/00"]
    for number in range(1, 12):
        doc_id = f"web/{number:02d}"
        own = page(number, menu="", footer="")
        assert cleaned(doc_id, documents[doc_id], repetition).text == own


def test_the_order_of_the_documents_does_not_matter():
    documents = pages()
    backwards = dict(reversed(documents.items()))
    assert measure(documents.items(), 0.6) == measure(backwards.items(), 0.6)


def test_headings_move_and_go_with_the_text():
    documents = pages()
    repetition = measure(documents.items(), 0.6)
    text = documents["web/05"]
    headings = (Heading(0, 1, "Home"), Heading(text.index("# Topic"), 1, "Topic"))
    parsed = Parsed(text, None, "text/markdown", headings=headings)
    assert without("web/05", parsed, repetition).headings == (Heading(0, 1, "Topic"),)


def test_a_single_repeated_line_amid_others_stays():
    documents = {
        f"d/{i}": f"Title {chr(97 + i)}\n\nOpening hours\n\nDay {chr(97 + i)}x" for i in range(12)
    }
    repetition = measure(documents.items(), 0.6)
    assert cleaned("d/5", documents["d/5"], repetition).text == documents["d/5"]


def test_what_few_documents_share_and_small_sources_stay():
    some = {**pages(4), **{f"x/{i}": f"Text {chr(97 + i) * 4} alone." for i in range(8)}}
    assert measure(some.items(), 0.6) == Repetition()
    assert measure(pages(9).items(), 0.6) == Repetition()
    assert measure(pages().items(), 1.0) == Repetition()


def test_code_blocks_stay():
    code = "```\nimport acme\nclient = acme.Client()\nclient.run()\n```"
    documents = {f"d/{i:02d}": f"Step {chr(97 + i) * 3}\n\n{code}" for i in range(12)}
    repetition = measure(documents.items(), 0.6)
    assert cleaned("d/05", documents["d/05"], repetition).text == documents["d/05"]


def test_a_document_of_nothing_else_stays():
    documents = {f"d/{i:02d}": MENU for i in range(12)}
    repetition = measure(documents.items(), 0.6)
    assert cleaned("d/05", MENU, repetition).text == MENU
