"""Files made to break parsers: each is text or has the right reason, and none takes a neighbour."""

import gzip
import io
import json
import zipfile

import pytest

from rag_assets.parsing import Parsed, ParseLimits, ParseTask, Problem, parse_many
from rag_assets_tests.parsing import samples
from rag_assets_tests.parsing.ole import compound

LIMITS = ParseLimits(seconds=4, memory=1 << 30, workers=2)
LINE = ["A line of text."]


def nested_zip(depth: int) -> bytes:
    data = samples.zipped({"a.txt": "the innermost"})
    for _ in range(depth):
        data = samples.zipped({"inner.zip": data})
    return data


def lying_zip() -> bytes:
    """A member that unpacks to more than its directory declares."""
    data = bytearray(samples.zipped({"a.txt": b"word " * 100_000}))
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        place = data.find(signature) + offset
        data[place : place + 4] = (50).to_bytes(4, "little")
    return bytes(data)


def encrypted_zip() -> bytes:
    data = bytearray(samples.zipped({"a.txt": "secret", "b.txt": "secret"}))
    place = 0
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        while (place := data.find(signature, place)) >= 0:
            data[place + offset] |= 1
            place += 4
        place = 0
    return bytes(data)


def billion_laughs() -> bytes:
    entities = '<!ENTITY a0 "ha">' + "".join(
        f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10)
    )
    return f"<?xml version='1.0'?><!DOCTYPE x [{entities}]><x><p>ok</p>&a9;</x>".encode()


EXTERNAL_ENTITY = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    b"<x><a>ok</a>&f;</x>"
)
ENCRYPTION = b"/Encrypt<</Filter/Standard/V 1/R 2/P -4/O(%s)/U(%s)>>/ID[(%s)(%s)]" % (
    b"o" * 32,
    b"u" * 32,
    b"i" * 16,
    b"i" * 16,
)
GOOD_PDF = samples.pdf([LINE, LINE])
FLATE_BOMB = samples.pdf_of(
    {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: b"<</Type/Pages/Count 1/Kids[5 0 R]>>",
        3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        5: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F 3 0 R>>>>"
        b"/Contents 6 0 R>>",
        6: samples.flate(b"BT /F 9 Tf 9 9 Td " + b"(bomb) Tj " * 6_000_000 + b"ET"),
    }
)

# name → (bytes, what must come out): a text that must be in it, or the reasons that are right.
HOSTILE: dict[str, tuple[bytes, str | set[str]]] = {
    "empty.pdf": (b"", {"empty"}),
    "truncated.pdf": (GOOD_PDF[: len(GOOD_PDF) // 2], {"damaged"}),
    "header only.pdf": (b"%PDF-1.7\n", {"damaged"}),
    "no xref.pdf": (GOOD_PDF.replace(b"xref", b"xxxx"), "text:A line of text."),
    "encrypted.pdf": (samples.pdf([LINE], trailer=ENCRYPTION), {"encrypted"}),
    "circular pages.pdf": (
        samples.pdf_of({1: b"<</Type/Catalog/Pages 2 0 R>>", 2: b"<</Type/Pages/Kids[2 0 R]>>"}),
        {"damaged"},
    ),
    "says 100,000 pages.pdf": (
        samples.pdf([LINE]).replace(b"/Count 1", b"/Count 100000"),
        "text:A line of text.",
    ),
    "circular outline.pdf": (
        samples.pdf(
            [LINE],
            catalog=b"/Outlines 90 0 R",
            extra={
                90: b"<</First 91 0 R/Last 91 0 R>>",
                91: b"<</Title(Again)/Next 91 0 R/First 91 0 R/Dest[5 0 R/Fit]/Parent 90 0 R>>",
            },
        ),
        "text:A line of text.",
    ),
    "form that calls itself.pdf": (
        samples.HANGING_PDF,
        {"timeout", "out_of_memory"},
    ),
    "flate bomb.pdf": (FLATE_BOMB, {"timeout", "out_of_memory"}),
    "zip bomb.docx": (
        samples.zipped({"[Content_Types].xml": "x", "word/document.xml": b" " * (200 << 20)}),
        {"too_large"},
    ),
    "zip bomb.zip": (samples.zipped({"a.txt": b"0" * (300 << 20)}), {"too_large"}),
    "gzip bomb.gz": (gzip.compress(b"0" * (520 << 20), 1), {"too_large"}),
    "matryoshka.zip": (nested_zip(12), {"too_deep"}),
    "lying.zip": (lying_zip(), {"damaged"}),
    "encrypted.zip": (encrypted_zip(), {"encrypted"}),
    "truncated.zip": (samples.zipped({"a.txt": "x" * 999})[:60], {"damaged"}),
    "truncated.docx": (samples.word()[:5000], {"damaged"}),
    "no parts.docx": (
        samples.zipped({"[Content_Types].xml": "<Types/>", "word/x": ""}),
        {"damaged"},
    ),
    "encrypted.docx": (
        compound({"EncryptedPackage": b"x" * 5000, "EncryptionInfo": b"y"}),
        {"encrypted"},
    ),
    "old.doc": (compound({"WordDocument": b"x" * 5000}), {"unknown_type"}),
    "far corner.xlsx": (
        samples.workbook(
            {
                "Big": '<dimension ref="A1:XFD1048576"/><sheetData><row r="1"><c r="A1"><v>1</v>'
                '</c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row></sheetData>'
            }
        ),
        {"too_large"},
    ),
    "far corner, undeclared.xlsx": (
        samples.workbook(
            {
                "Big": '<sheetData><row r="1"><c r="A1"><v>1</v></c></row>'
                '<row r="1048576"><c r="XFD1048576"><v>2</v></c></row></sheetData>'
            }
        ),
        {"out_of_memory"},
    ),
    "billion laughs.xml": (billion_laughs(), {"too_large"}),
    "external entity.xml": (EXTERNAL_ENTITY, "text:ok"),
    "deep.xml": (b"<a>" * 100_000 + b"</a>" * 100_000, {"too_deep"}),
    "deep.html": (b"<html>" + b"<div>" * 50_000 + b"far down", "text:far down"),
    "deep.json": (b'{"a":' * 5000 + b"1" + b"}" * 5000, {"too_deep"}),
    "endless tags.html": (b"<html><p>start" + b"<b" * 300_000, "text:start"),
    "table in table.html": (b"<html><p>ok</p>" + b"<table><tr><td>x" * 2000, "text:ok"),
    "wrong name.pdf": (b"Only words here.", "text:Only words here."),
    "wrong name.txt": (GOOD_PDF, "text:A line of text."),
    "wrong name.xlsx": (samples.word(), "text:Thirty days a year."),
    "nul bytes.txt": (b"\0" * 9999, {"unknown_type"}),
    "noise.bin": (bytes((i * i * 31 + i * 7) % 256 for i in range(20_000)), {"unknown_type"}),
    "2 MB without a space.md": (b"x" * 2_000_000, "text:xxxx"),
    "20,000 newlines.md": (b"a" + b"\n" * 20_000 + b"b", "text:a\n\n\nb"),
    "brackets.md": (b"[" * 100_000 + b"](" * 100_000, "text:[[["),
    "emphasis.md": (b"# " + b"*a_" * 100_000, "text:*a_*a_"),
    "front matter bomb.md": (
        b"---\na: &a [x,x]\n"
        + b"".join(b"%c: &%c [*%c,*%c]\n" % (98 + i, 98 + i, 97 + i, 97 + i) for i in range(20))
        + b"---\nbody",
        "text:body",
    ),
    "deep front matter.md": (b"---\na: " + b"[" * 20_000 + b"\n---\nbody", "text:body"),
    "wide.csv": (b",".join([b"cell"] * 200_000) + b"\n" + b",".join([b"1"] * 200_000), "text:1"),
    "quotes.csv": (b'a,b\n"' + b'""' * 100_000, 'text:"'),
    "nested mail.eml": (
        b"".join(
            b"MIME-Version: 1.0\nMessage-ID: <%d>\nFrom: a@b\nContent-Type: message/rfc822\n\n" % i
            for i in range(300)
        )
        + b"From: a@b\n\nend",
        "text:From: a@b",
    ),
    "bad headers.eml": (
        b"From: =?utf-8?q?=C3=28?= <\nTo: @@@,,<>\nDate: never\nMessage-ID: x\nMIME-Version: 1.0\n"
        b"Content-Type: text/plain; charset=no-such\n\nThe body.",
        "text:The body.",
    ),
    "strange.ipynb": (json.dumps({"nbformat": 4, "cells": [1, {}]}).encode(), {"no_text"}),
    "not a notebook.ipynb": (b"[]", {"damaged"}),
    "rtf braces.rtf": (b"{\\rtf1 " + b"{" * 50_000 + b"text" + b"}" * 50_000, "text:text"),
}


@pytest.fixture(scope="module")
def outcomes():
    """Every hostile file parsed in one go, each with a harmless PDF after it."""
    tasks = []
    for name, (data, _) in HOSTILE.items():
        tasks.append(ParseTask(name, None, data, name))
        tasks.append(ParseTask(f"after {name}", None, GOOD_PDF, "good.pdf"))
    return dict(parse_many(tasks, LIMITS))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file(name, outcomes):
    wanted = HOSTILE[name][1]
    allowed = {wanted} if isinstance(wanted, str) else wanted
    outcome = outcomes[name]
    if isinstance(outcome, Problem):
        assert outcome.reason in allowed, outcome
        assert outcome.message
        assert outcome.seconds < 2 * LIMITS.seconds
        return
    texts = [text.removeprefix("text:") for text in allowed if text.startswith("text:")]
    assert texts, f"it became text: {outcome.text[:200]!r}"
    assert any(text in outcome.text for text in texts), outcome.text[:200]


def test_no_neighbour_suffers(outcomes):
    neighbours = [outcomes[f"after {name}"] for name in HOSTILE]
    assert all(isinstance(outcome, Parsed) for outcome in neighbours)
    assert {outcome.text for outcome in neighbours} == {"A line of text.\n\nA line of text."}


def test_nothing_of_the_machine_leaks_into_a_text(outcomes):
    assert "root:" not in outcomes["external entity.xml"].text


def test_a_spreadsheet_bomb_in_its_strings_costs_only_its_own_limits():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open("xl/sharedStrings.xml", "w") as member:
            member.write(b"<sst><si><t>")
            for _ in range(60):
                member.write(b"x" * (1 << 20))
            member.write(b"</t></si></sst>")
    ((_, outcome),) = parse_many([ParseTask("b", None, file.getvalue(), "b.xlsx")], LIMITS)
    assert isinstance(outcome, Problem)
    assert outcome.reason == "too_large"
