import shutil

import pypdfium2
import pytest

from rag_assets.parsing import Heading, Page, Unparseable, parse
from rag_assets.parsing.ocr import page_image
from rag_assets.parsing.pages import repaired
from rag_assets_tests.parsing import samples

OUTLINE = {
    90: b"<</First 91 0 R/Last 92 0 R>>",
    91: b"<</Title(Leave)/Dest[5 0 R/Fit]/Parent 90 0 R/Next 92 0 R/First 93 0 R/Last 93 0 R>>",
    92: b"<</Title(Travel)/Dest[7 0 R/Fit]/Parent 90 0 R>>",
    93: b"<</Title(Carrying over)/Dest[5 0 R/Fit]/Parent 91 0 R>>",
}


def test_pages_outline_and_properties():
    data = samples.pdf(
        [
            ["Leave", "Thirty days a year.", "1.2 Carrying over", "Five days."],
            [],
            ["Trains come first.", "Planes last."],
        ],
        title="Staff handbook",
        catalog=b"/Outlines 90 0 R",
        extra={**OUTLINE, 92: OUTLINE[92].replace(b"7 0 R", b"9 0 R")},
    )
    parsed = parse(data, "handbook.pdf")
    assert parsed.text == (
        "Leave\nThirty days a year.\n1.2 Carrying over\nFive days.\n\n"
        "Trains come first.\nPlanes last."
    )
    assert parsed.pages == (Page(0, 1), Page(56, 3))
    assert parsed.headings == (
        Heading(0, 1, "Leave"),
        Heading(26, 2, "Carrying over"),
        Heading(56, 1, "Travel"),
    )
    assert parsed.title == "Staff handbook"
    assert parsed.metadata == {"author": "Ines Ruiz", "created": "2026-04-01", "pages": 3}


@pytest.mark.parametrize("title", ["Microsoft Word - x.doc", "untitled", "report.docx", "a.pdf"])
def test_titles_that_programs_make_up_do_not_count(title):
    assert parse(samples.pdf([["Some text."]], title=title), "a.pdf").title is None


def test_running_headers_and_page_numbers_appear_once():
    def page(number):
        body = [f"Item {(number * 37 + line * 11) % 100} of the list." for line in range(6)]
        odd = ["Rules 2026", "3.1 Leave"] if number < 4 else ["Rules 2026", "3.2 Travel"]
        return [*odd, *body, f"Page {number + 4} of 12"]

    text = parse(samples.pdf([page(number) for number in range(1, 7)]), "a.pdf").text
    assert text.count("Rules 2026") == 1
    assert text.count("3.1 Leave") == 1
    assert text.count("3.2 Travel") == 1
    assert text.count("Page") == 1
    assert text.count("Item") == 36


def test_lines_that_differ_in_more_than_the_page_number_stay():
    pages = [
        [f"Total of {n * n}", *(f"Line {n * n} {i}" for i in range(6)), f"Sum: {n * 7}", "12"]
        for n in range(1, 6)
    ]
    text = parse(samples.pdf(pages), "a.pdf").text
    assert text.count("Total of") == 5
    assert text.count("Sum:") == 5
    assert text.count("Line") == 30


def test_pages_of_few_lines_keep_them_all():
    assert repaired(["Same", "Same", "Same", "Same"]) == ["Same"] * 4


def test_words_cut_at_the_end_of_a_line_are_joined():
    pages = [
        "an exam\x02ple of well\x02known words, the well-known ones,",
        "Baden\x02Baden in 2010\x0211, Haupt\x02Züge",
    ]
    assert repaired(pages) == [
        "an example of well-known words, the well-known ones,",
        "Baden-Baden in 2010-11, Haupt-Züge",
    ]


def test_sentences_that_run_on_are_joined_and_nothing_else_is():
    page = "\n".join(
        [
            "This sentence is long enough to run on over",
            "the end of its line.",
            "A new sentence starts with a capital letter",
            "Another one, so it stays on its own line",
            "- an item of a list that is rather long, yes",
            "short line",
            "x = 1",
        ]
    )
    assert repaired([page])[0].split("\n") == [
        "This sentence is long enough to run on over the end of its line.",
        "A new sentence starts with a capital letter",
        "Another one, so it stays on its own line",
        "- an item of a list that is rather long, yes short line",
        "x = 1",
    ]


def scan_of(data):
    """A PDF of pictures of the pages of another one."""
    document = pypdfium2.PdfDocument(data)
    objects = {1: b"<</Type/Catalog/Pages 2 0 R>>"}
    kids = []
    for index in range(len(document)):
        header, pixels = page_image(document, index).split(b" 255\n", 1)
        width, height = header.split()[1:]
        page = 10 + 3 * index
        kids.append(b"%d 0 R" % page)
        objects[page] = (
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</XObject<</I %d 0 R>>>>"
            b"/Contents %d 0 R>>" % (page + 1, page + 2)
        )
        size = b"/Width %s/Height %s/BitsPerComponent 8" % (width, height)
        objects[page + 1] = samples.flate(
            pixels, b"/Type/XObject/Subtype/Image/ColorSpace/DeviceGray" + size
        )
        objects[page + 2] = samples.stream(b"612 0 0 792 0 0 cm /I Do")
    objects[2] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(kids))
    return samples.pdf_of(objects)


def test_a_scan_is_read_by_tesseract_or_says_what_to_install():
    data = scan_of(samples.pdf([["Thirty days of leave"], ["Five sick days"]]))
    if shutil.which("tesseract") is None:
        with pytest.raises(Unparseable, match="install Tesseract"):
            parse(data, "scan.pdf")
        return
    parsed = parse(data, "scan.pdf")
    assert parsed.text == "Thirty days of leave\n\nFive sick days"
    assert parsed.metadata == {"pages": 2, "ocr": True}
    assert [page.number for page in parsed.pages] == [1, 2]


def test_a_scan_without_tesseract_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unparseable, match="install Tesseract") as caught:
        parse(samples.pdf([[], []]), "scan.pdf")
    assert caught.value.reason == "missing_tool"
    with pytest.raises(Unparseable, match="install Tesseract") as caught:
        parse(b"\x89PNG\r\n\x1a\n" + bytes(50), "scan.png")
    assert caught.value.reason == "missing_tool"


def test_a_scan_of_too_many_pages_is_refused():
    with pytest.raises(Unparseable, match="a scan of 51 pages, the limit is 50") as caught:
        parse(samples.pdf([[]] * 51), "scan.pdf")
    assert caught.value.reason == "too_large"
