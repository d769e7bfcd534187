import pytest

from rag_assets.parsing import Heading, Page, Unparseable, parse
from rag_assets_tests.parsing import samples
from rag_assets_tests.parsing.ole import outlook_mail


def test_word():
    parsed = parse(samples.word(), "leave.docx")
    assert parsed.title == "Leave policy"
    assert parsed.metadata["author"] == "Ines Ruiz"
    assert parsed.text == (
        "# Leave policy\n\nThirty days a year.\n\n# Carrying over\n\n- Five days until March\n"
        "- None without asking\n\n| Grade | Days |\n| --- | --- |\n| A\\|1 | 30 |\n\n"
        "## Sick leave\n\nTell your lead."
    )
    assert parsed.headings == (
        Heading(0, 1, "Leave policy"),
        Heading(37, 1, "Carrying over"),
        Heading(147, 2, "Sick leave"),
    )


def test_spreadsheet():
    rows = [["Item", "Price", "Since"], ["Bolt", 1.5, 2020.0], ["Nut", 3.0, ""]]
    data = samples.workbook(
        {
            "Prices": samples.sheet_data(rows),
            "Empty": "<sheetData/>",
            "Notes": samples.sheet_data([["just a note"]]),
        }
    )
    parsed = parse(data, "prices.xlsx")
    assert parsed.title == "Prices 2026"
    assert parsed.metadata == {"author": "Ines Ruiz", "created": "2026-04-01T10:00:00Z"}
    assert parsed.text == (
        "## Prices\n\nItem: Bolt; Price: 1.5; Since: 2020\nItem: Nut; Price: 3\n\n"
        "## Notes\n\njust a note"
    )
    assert parsed.headings == (Heading(0, 2, "Prices"), Heading(68, 2, "Notes"))
    assert parsed.pages == (Page(0, 1), Page(68, 3))


def test_presentation():
    parsed = parse(samples.presentation(), "review.pptx")
    assert parsed.title == "Review"
    assert parsed.text == (
        "## Annual review\n\nWe grew.\nA lot.\n\nNotes: Thank the team.\n\n"
        "Second to be shown\n\n| Quarter | Sales |\n| --- | --- |\n| Q1 | 120 |"
    )
    assert parsed.pages == (Page(0, 1), Page(59, 2))


def test_open_document():
    parsed = parse(samples.open_document(), "travel.odt")
    assert (parsed.title, parsed.metadata) == ("Travel rules", {"language": "en-GB"})
    assert parsed.text == (
        "# Travel\n\nBook  early, see [the rules](https://example.org/t).\nAlways.\n\n"
        "- Train first\n  - Second class\n\n| City | Rate |\n| --- | --- |\n| Graz | 90 |"
    )


def test_book():
    parsed = parse(samples.book(), "fox.epub")
    assert parsed.title == "The Fox"
    assert parsed.metadata == {"author": "A. Writer", "language": "en"}
    assert parsed.text == "# Chapter 1\n\nThe fox sleeps.\n\n# Chapter 2\n\nThe fox wakes."
    assert parsed.pages == (Page(0, 1), Page(30, 2))


def test_rich_text():
    source = (
        rb"{\rtf1\ansi\ansicpg1252{\info{\title The rules}{\author Ines}}"
        rb"\f0 Caf\'e9 \b bold\b0  text.\par Second paragraph \u8364? sign.\par}"
    )
    parsed = parse(source, "rules.rtf")
    assert parsed.text == "Café bold text.\n\nSecond paragraph € sign."
    assert (parsed.title, parsed.metadata) == ("The rules", {"author": "Ines"})


def test_data_xml():
    source = (
        b"<catalog><item id='1'><name>Bolt</name><price cur='EUR'>1.50</price></item>"
        b"<item id='2'><name>Nut</name></item></catalog>"
    )
    assert parse(source, "items.xml").text.split("\n") == [
        "catalog:",
        "  item: id=1",
        "    name: Bolt",
        "    price: cur=EUR 1.50",
        "  item: id=2",
        "    name: Nut",
    ]


def test_document_xml():
    source = (
        b"<?xml version='1.0' encoding='iso-8859-1'?><article><title>Gr\xfc\xdfe</title><section>"
        b"<title>Setup</title><para>Plug it in, <emphasis>then</emphasis> wait.</para>"
        b"<programlisting>a\n  b</programlisting><itemizedlist><listitem><para>one</para>"
        b"</listitem></itemizedlist></section></article>"
    )
    parsed = parse(source, "guide.xml")
    assert parsed.title == "Grüße"
    assert parsed.text == (
        "# Grüße\n\n## Setup\n\nPlug it in, then wait.\n\n```\na\n  b\n```\n\none"
    )
    assert [(h.level, h.title) for h in parsed.headings] == [(1, "Grüße"), (2, "Setup")]


MAIL = b"""From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r
To: ines@example.org\r
Subject: =?utf-8?q?Printer_on_floor_3?=\r
Date: Tue, 12 May 2026 10:00:00 +0200\r
Message-ID: <1@example.org>\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary=b\r
\r
--b\r
Content-Type: text/html; charset=utf-8\r
\r
<p>It is <b>broken</b>.</p><style>p {}</style>\r
--b\r
Content-Type: text/csv; name=p.csv\r
Content-Disposition: attachment; filename=p.csv\r
\r
item,price\r
bolt,3\r
--b\r
Content-Type: application/octet-stream\r
Content-Disposition: attachment; filename=x.bin\r
Content-Transfer-Encoding: base64\r
\r
AAECAwQFBgcICQoLDA0ODw==\r
--b--\r
"""


def test_mail_with_attachments():
    parsed = parse(MAIL, "printer.eml")
    assert parsed.title == "Printer on floor 3"
    assert parsed.text == (
        "# Printer on floor 3\n\nFrom: Jürgen <j@example.org>\nTo: ines@example.org\n"
        "Date: Tue, 12 May 2026 10:00:00 +0200\n\nIt is broken.\n\n# p.csv\n\nitem: bolt; price: 3"
    )
    assert parsed.metadata == {
        "author": "Jürgen <j@example.org>",
        "to": "ines@example.org",
        "date": "Tue, 12 May 2026 10:00:00 +0200",
        "left_out": "x.bin (unknown_type)",
    }


def test_outlook_mail():
    parsed = parse(outlook_mail(), "printer.msg")
    assert parsed.title == "Printer on floor 3"
    assert parsed.text == (
        '# Printer on floor 3\n\nFrom: "Ines Ruiz" <ines@example.org>\n'
        "To: Bo Lind <bo@example.org>\nDate: 2026-05-12T08:00:00+00:00\n\n"
        "The toner is empty.\nPlease order more.\n\n# order.csv\n\nitem: toner; count: 2"
    )


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (samples.zipped({"a.md": "# A\n\ntext", "b/c.txt": "plain", ".hidden": "x"}), "x.zip"),
        (samples.tarred({"a.md": b"# A\n\ntext", "b/c.txt": b"plain"}), "x.tar"),
        (samples.tarred({"a.md": b"# A\n\ntext", "b/c.txt": b"plain"}, "w:gz"), "x.tar.gz"),
        (samples.tarred({"a.md": b"# A\n\ntext", "b/c.txt": b"plain"}, "w:bz2"), "x.tar.bz2"),
        (samples.tarred({"a.md": b"# A\n\ntext", "b/c.txt": b"plain"}, "w:xz"), "x.txz"),
    ],
)
def test_an_archive_that_comes_whole_has_a_section_for_each_member(data, name):
    parsed = parse(data, name)
    assert parsed.text == "# a.md\n\n# A\n\ntext\n\n# b/c.txt\n\nplain"
    assert [(h.start, h.level, h.title) for h in parsed.headings] == [
        (0, 1, "a.md"),
        (8, 2, "A"),
        (19, 1, "b/c.txt"),
    ]


def test_members_that_cannot_be_read_are_named_in_the_metadata():
    inner = samples.zipped({"x.md": "inside"})
    data = samples.zipped({"d.bin": bytes(range(256)) * 3, "in.zip": inner, "e.txt": ""})
    parsed = parse(data, "all.zip")
    assert parsed.title == "all.zip"
    assert parsed.metadata == {"left_out": "d.bin (unknown_type); e.txt (empty)"}
    assert parsed.text == "# in.zip\n\n# x.md\n\ninside"


def test_an_archive_of_nothing_readable_says_so():
    with pytest.raises(
        Unparseable, match=r"none of its members can be read: a.bin \(unknown_type\)"
    ):
        parse(samples.zipped({"a.bin": bytes(range(256)) * 3}), "a.zip")
