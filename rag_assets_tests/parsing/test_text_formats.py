import json

import pytest

from rag_assets.parsing import Heading, Unparseable, parse


def titles(parsed):
    """Headings as (level, title), each checked to stand where it says."""
    for heading in parsed.headings:
        line = parsed.text[heading.start :].split("\n\n", 1)[0]
        assert heading.title.split()[0].strip("*`") in line, heading
    return [(heading.level, heading.title) for heading in parsed.headings]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param("plain é 漢字".encode(), "plain é 漢字", id="utf-8"),
        pytest.param("\ufeffmarked".encode(), "marked", id="utf-8 with mark"),
        pytest.param("Größe und Übung".encode("latin-1"), "Größe und Übung", id="latin-1"),
        pytest.param("“smart” – 5 €".encode("cp1252"), "“smart” – 5 €", id="windows-1252"),
        pytest.param("Größe".encode("utf-16"), "Größe", id="utf-16 with mark"),
        pytest.param("Hello there".encode("utf-16-le"), "Hello there", id="utf-16-le bare"),
        pytest.param("Hello there".encode("utf-16-be"), "Hello there", id="utf-16-be bare"),
        pytest.param("Größe".encode("utf-32"), "Größe", id="utf-32"),
        pytest.param(
            "Съешь же ещё этих мягких французских булок, да выпей чаю.".encode("cp1251"),
            "Съешь же ещё этих мягких французских булок, да выпей чаю.",
            id="cyrillic",
        ),
        pytest.param(
            "これは日本語の文章です。とても短いです。".encode("shift_jis"),
            "これは日本語の文章です。とても短いです。",
            id="shift-jis",
        ),
        pytest.param(
            "naïve café, déjà vu".encode() + b"\xe2\x82", "naïve café, déjà vu\ufffd", id="cut"
        ),
        pytest.param(
            b"a\x00b with some\x00 nulls in it, ok", "ab with some nulls in it, ok", id="nul"
        ),
        pytest.param(b"a\r\nb\rc\nd\x0ce", "a\nb\nc\nd\ne", id="mixed newlines"),
        pytest.param("e\u0301 Å".encode(), "é Å", id="decomposed"),
        pytest.param("Donau\u00addampf".encode(), "Donaudampf", id="soft hyphen"),
        pytest.param(b"a  \n\t\nb\n", "a\n\nb", id="trailing space"),
        pytest.param(b"a" + b"\n" * 20_000 + b"b", "a\n\n\nb", id="20,000 newlines"),
        pytest.param(b"<|endoftext|> [CLS]", "<|endoftext|> [CLS]", id="special tokens"),
        pytest.param(
            "👩‍👩‍👧 שלום مرحبا".encode(), "👩‍👩‍👧 שלום مرحبا", id="emoji and right to left"
        ),
    ],
)
def test_plain_text(data, text):
    parsed = parse(data, "a.txt")
    assert (parsed.text, parsed.media_type) == (text, "text/plain")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \n\t\r\n ", "no_text"),
        (b"\xef\xbb\xbf", "no_text"),
        (bytes(range(256)) * 8, "unknown_type"),
        (b"\x00" * 4096, "unknown_type"),
        (b"\x7fELF" + bytes(60), "unknown_type"),
        (b"MZ\x90\x00" + b"This program cannot be run in DOS mode" * 9, "unknown_type"),
        (b"SQLite format 3\x00" + b"text " * 100, "unknown_type"),
    ],
)
def test_what_is_no_text_says_why(data, reason):
    with pytest.raises(Unparseable) as caught:
        parse(data, "report.txt")
    assert caught.value.reason == reason


def test_markdown_structure():
    source = """---
title: Working from home
tags: [hr, remote]
date: 2026-03-01
draft: false
nested: {a: 1}
---
# Working *from* home #

Setext of two
words
-----

```bash
# not a heading
```
~~~~
## neither
```
~~~~
    # code

## [Linked](http://x.org) `code` {#anchor}
- item
---
<!--
# hidden
-->
#Tag
####### seven
###
Title
===
"""
    parsed = parse(source.encode(), "a.md")
    assert parsed.text.startswith("# Working *from* home #\n")
    assert parsed.title == "Working from home"
    assert parsed.metadata == {"tags": "hr, remote", "date": "2026-03-01", "draft": False}
    assert titles(parsed) == [
        (1, "Working from home"),
        (2, "words"),
        (2, "Linked code"),
        (1, "Title"),
    ]


def test_front_matter_that_is_none_stays_text():
    assert parse(b"---\njust a line\n---\nmore", "a.md").text == "---\njust a line\n---\nmore"
    assert parse(b"---\na: [\n---\nmore", "a.md").text == "---\na: [\n---\nmore"
    toml = parse(b'+++\ntitle = "T"\n+++\nmore', "a.mdx")
    assert (toml.text, toml.title) == ("more", "T")


def test_rst_structure():
    source = """PEP: 604
Title: Allow writing union types as X | Y
Author: Ann,
        Bob
Created: 28-Aug-2019

========
Abstract
========

Some text::

    Not a title
    -----------

Motivation
==========
Using :class:`~typing.Union` and `a link <http://x>`_
-----------------------------------------------------

a long paragraph whose last line
----

=====  ====
a      b
=====  ====

Too long a title for it
---
"""
    parsed = parse(source.encode(), "pep-0604.rst")
    assert parsed.title == "Allow writing union types as X | Y"
    assert parsed.metadata == {"pep": "604", "author": "Ann, Bob", "created": "28-Aug-2019"}
    assert parsed.text == source.strip("\n")
    assert titles(parsed) == [
        (1, "Abstract"),
        (2, "Motivation"),
        (3, "Using ~typing.Union and a link"),
    ]


def test_rst_docinfo():
    parsed = parse(b"Guide\n=====\n\n:Author: Ann\n:Version: 2\n\nText.", "a.rst")
    assert (parsed.title, parsed.metadata) == ("Guide", {"author": "Ann", "version": "2"})


def test_asciidoc_structure():
    source = (
        b"= Guide\nInes Ruiz\n:revdate: 2026-01-01\n\nIntro.\n\n== Setup\n\n----\n== no\n----\n"
    )
    parsed = parse(source + b"\n====\n=== In an example\n====\n\n=== Deep\ntext", "a.adoc")
    assert parsed.title == "Guide"
    assert parsed.metadata == {"author": "Ines Ruiz", "revdate": "2026-01-01"}
    assert titles(parsed) == [(1, "Guide"), (2, "Setup"), (3, "In an example"), (3, "Deep")]


def test_source_code_keeps_its_lines_and_names_its_definitions():
    source = "import os\n\nclass Tariff:\n    def rate(self): ...\n\nasync def main():\n    pass"
    parsed = parse(source.encode(), "src/a.py")
    assert (parsed.text, parsed.media_type) == (source, "text/x-python")
    assert titles(parsed) == [(1, "Tariff"), (1, "main")]
    rust = parse(b"pub(crate) fn area(x: f64) -> f64 { x }\nimpl Shape for Circle {}\n", "a.rs")
    assert titles(rust) == [(1, "area"), (1, "Shape")]
    go = parse(b"func (s *Server) Start() error {\n}\ntype Server struct {}\n", "a.go")
    assert titles(go) == [(1, "Start"), (1, "Server")]


def test_a_page_inside_source_code_is_source_code():
    assert parse(b"<html><?php echo 1 ?></html>", "a.php").media_type == "text/x-php"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_rows_are_readable_without_their_header(delimiter):
    rows = [["Name", "Role"], ["Ada", "Lead, acting"], ["Bob", ""], ["", ""]]
    quoted = (delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    parsed = parse("\r\n".join(quoted).encode(), "staff.csv")
    assert parsed.text == "Name: Ada; Role: Lead, acting\nName: Bob"


def test_a_table_without_a_header_keeps_its_values():
    assert parse(b"1\t2.5\n3\t4\n", "a.tsv").text == "1 | 2.5\n3 | 4"
    assert parse(b"a,b\n", "a.csv").text == "a | b"
    assert parse(b'name,note\nx,"two\nlines"\ny,1,extra\n', "a.csv").text == (
        "name: x; note: two lines\nname: y; note: 1; extra"
    )


def test_json_values_stand_under_their_keys():
    value = {"name": "Bolt", "size": {"m": 3, "long": True}, "tags": ["a", "b"], "none": None}
    parsed = parse(json.dumps({**value, "parts": [{"id": 1, "x": [1]}, 2]}).encode(), "a.json")
    assert parsed.title == "Bolt"
    assert parsed.text.split("\n") == [
        "name: Bolt",
        "size:",
        "  m: 3",
        "  long: true",
        "tags: a, b",
        "none:",
        "parts:",
        "  - id: 1",
        "    x: 1",
        "  - 2",
    ]


def test_json_numbers_stay_as_they_are_written():
    long = "9" * 5000
    assert parse(b"[1.50, 1e400, NaN, " + long.encode() + b"]", "a.json").text == (
        f"1.50\n\n1e400\n\nNaN\n\n{long}"
    )


def test_broken_json_is_text_and_deep_json_is_refused():
    assert parse(b'{"a": 1, "b": ', "a.json").text == '{"a": 1, "b":'
    for depth in (200, 100_000):
        with pytest.raises(Unparseable) as caught:
            parse(b"[" * depth + b"]" * depth, "a.json")
        assert caught.value.reason == "too_deep"


def test_json_lines_are_blocks():
    parsed = parse(b'{"a": 1}\n\nnot json\n{"b": [2]}\n', "a.jsonl")
    assert parsed.text == "a: 1\n\nnot json\n\nb: 2"


def test_a_notebook_keeps_cells_and_short_outputs():
    cells = [
        {
            "cell_type": "markdown",
            "source": ["# Rates 📈\n", "\n", "| a | b |\n|--|--|\n| 1 | 2 |"],
        },
        {"cell_type": "code", "source": "# comment\nx", "outputs": [{"text": ["9" * 3000]}]},
        {"cell_type": "code", "source": [], "outputs": [{"data": {"text/plain": "frame"}}]},
    ]
    kernel = {"language_info": {"name": "python"}}
    notebook = {"nbformat": 4, "metadata": kernel, "cells": cells}
    parsed = parse(json.dumps(notebook).encode(), "a.ipynb")
    assert parsed.headings == (Heading(0, 1, "Rates 📈"),)
    assert parsed.text.split("\n\n") == [
        "# Rates 📈",
        "| a | b |\n|--|--|\n| 1 | 2 |",
        "```python\n# comment\nx\n```",
        "```\n" + "9" * 2000 + "…\n```",
        "```\nframe\n```",
    ]
    assert parsed.metadata == {"programming_language": "python"}


@pytest.mark.parametrize(
    ("data", "name", "media_type"),
    [
        (b"<!DOCTYPE html><p>Hello there", "notes.txt", "text/html"),
        (b"<?xml version='1.0'?><a>text</a>", "data", "application/xml"),
        (b'{"a": 1}', "config.lock", "application/json"),
        (b"# Not markdown", "notes.txt", "text/plain"),
        (b"# Title", "README.MD", "text/markdown"),
        (b"plain words", "scan.pdf", "text/plain"),
        (b"plain words", "table.xlsx", "text/plain"),
        (b"Received: x\nFrom: a@b.c\nSubject: s\n\nbody", "message", "message/rfc822"),
        (b"From: me\nTo: you\n\nA poem.", "poem.txt", "text/plain"),
        (b"a: 1", "ci.yml", "text/x-yaml"),
    ],
)
def test_the_bytes_speak_first_and_the_name_second(data, name, media_type):
    assert parse(data, name).media_type == media_type
