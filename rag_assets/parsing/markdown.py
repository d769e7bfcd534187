"""Markdown and MDX."""

import re

from rag_assets.parsing.base import Heading, Parsed
from rag_assets.parsing.building import clean_metadata, clean_title, first_title
from rag_assets.parsing.front_matter import split_front_matter
from rag_assets.parsing.text import readable

_ATX = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(?:(=+)|(-+))")
_FENCE = re.compile(r" {0,3}(?:[-*+>][ \t]+)?(`{3,}(?!.*`)|~{3,})")
_NOT_A_PARAGRAPH = re.compile(r" {0,3}(?:[-*+>#|]|\d{1,9}[.)][ \t]|[`~]{3}|<)| {4}|\t")
_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_MARKUP = re.compile(r"(\*\*|__|`+|~~)(?=\S)(.+?)(?<=\S)\1|(?<!\w)[*_](?=\S)(.+?)(?<=\S)[*_](?!\w)")
_ANCHOR = re.compile(r"[ \t]*\{#[\w.:-]+\}$|</?[a-zA-Z][^<>]*>")


def parse_markdown(data: bytes, name: str) -> Parsed:
    """The markdown source itself; front matter goes to the metadata."""
    text = readable(data)
    metadata, begin = split_front_matter(text)
    text = text[begin:].strip("\n") or text
    headings = markdown_headings(text)
    title = clean_title(metadata.pop("title", None)) or first_title(headings)
    return Parsed(text, title, "text/markdown", tuple(headings), metadata=clean_metadata(metadata))


def markdown_headings(text: str) -> list[Heading]:
    """ATX and setext headings outside code fences and comments, in order."""
    found = []
    fence = ""
    comment = False
    previous, previous_start = "", 0
    start = 0
    for line in text.split("\n"):
        begin, start = start, start + len(line) + 1
        if fence:
            closing = _FENCE.match(line)
            if closing and closing[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
            previous = ""
            continue
        if comment or line.lstrip().startswith("<!--"):
            comment = "-->" not in line
            previous = ""
            continue
        opening = _FENCE.match(line)
        if opening:
            fence = opening[1]
            previous = ""
            continue
        atx = _ATX.match(line)
        if atx:
            title = plain_title(_without_closing_marks(line[atx.end() :]))
            if title:
                found.append(Heading(begin, len(atx[1]), title))
            previous = ""
            continue
        underline = _UNDERLINE.fullmatch(line) if previous else None
        if underline:
            title = plain_title(previous)
            if title:
                found.append(Heading(previous_start, 1 if underline[1] else 2, title))
            previous = ""
            continue
        if _NOT_A_PARAGRAPH.match(line):
            previous = ""
        else:
            previous, previous_start = line, begin
    return found


def _without_closing_marks(words: str) -> str:
    """`words` of an ATX heading without the `##` that may close it."""
    words = words.strip()
    inner = words.rstrip("#")
    return inner if not inner or inner[-1] in " \t" else words


def plain_title(title: str) -> str:
    """The words of a heading without links, emphasis, code marks and anchors."""
    title = _ANCHOR.sub("", _LINK.sub(r"\1", title[:1000]))
    title = _MARKUP.sub(lambda mark: mark[2] or mark[3], title)
    return " ".join(title.split())
