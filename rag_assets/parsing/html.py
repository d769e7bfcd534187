"""HTML pages: the main text as markdown, without menus, banners and footers."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rag_assets.parsing.base import Parsed, Scalar, Unparseable
from rag_assets.parsing.building import TextBuilder, clean_metadata, clean_title, first_title
from rag_assets.parsing.decoding import decode
from rag_assets.parsing.markdown import markdown_headings
from rag_assets.parsing.normalise import normalise

if TYPE_CHECKING:
    from lxml.html import HtmlElement

_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_SKIPPED = {"script", "style", "noscript", "template", "nav", "head", "svg", "iframe", "form"}
_BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "dd", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "header", "hr", "html", "li", "main", "ol", "p", "pre",
    "section", "table", "td", "th", "tr", "ul", "br",
}  # fmt: skip
_HEADINGS = {f"h{level}": level for level in range(1, 7)}


def parse_html(data: bytes, name: str) -> Parsed:
    """The main text of a page; the whole visible text where no main part stands out."""
    from lxml import etree

    source = _DECLARATION.sub("", html_text(data))
    try:
        tree = _tree(source)
    except (etree.LxmlError, ValueError) as error:
        raise Unparseable("damaged", f"it is not readable as HTML: {error}") from error
    if tree is None:
        raise Unparseable("no_text", "there is no element in it")
    found = _main_text(source)
    metadata = _page_metadata(tree)
    title = clean_title(metadata.pop("title", None))
    text = normalise(found) if found else ""
    if not text.strip():
        return _visible_text(tree).parsed("text/html", title, metadata)
    headings = tuple(markdown_headings(text))
    metadata = clean_metadata(metadata)
    return Parsed(text, title or first_title(headings), "text/html", headings, metadata=metadata)


def html_text(data: bytes) -> str:
    """The characters of a page, in the encoding it declares where that is right."""
    declared = _CHARSET.search(data[:4096])
    if declared and not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        try:
            return data.decode(declared[1].decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            return decode(data)
    return decode(data)


def _tree(source: str) -> "HtmlElement | None":
    from lxml import html

    parser = html.HTMLParser(huge_tree=True, remove_comments=True, remove_pis=True)
    if not source.strip():
        return None
    return html.document_fromstring(source, parser=parser)


def _main_text(source: str) -> str | None:
    import trafilatura

    return trafilatura.extract(
        source, output_format="markdown", include_tables=True, include_links=False,
        include_comments=False, with_metadata=False, favor_recall=True,
    )  # fmt: skip


def _page_metadata(tree: "HtmlElement") -> dict[str, Scalar]:
    """Title, author, dates and language as the page declares them."""
    found: dict[str, Scalar] = {"language": tree.get("lang") or tree.get("xml:lang")}
    title = tree.find(".//title")
    if title is not None:
        found["title"] = "".join(title.itertext())
    wanted = {
        "author": "author",
        "article:author": "author",
        "description": "description",
        "keywords": "keywords",
        "og:title": "title",
        "article:published_time": "published",
        "date": "published",
        "dc.date": "published",
        "article:modified_time": "modified",
        "last-modified": "modified",
    }
    for meta in tree.iter("meta"):
        name = (meta.get("name") or meta.get("property") or "").lower()
        key = wanted.get(name)
        if key and meta.get("content") and (key not in found or name == "og:title"):
            found[key] = meta.get("content")
    return found


def _visible_text(tree: "HtmlElement") -> TextBuilder:
    """Everything a reader would see, block by block."""
    builder = TextBuilder()
    for level, text in _blocks(tree):
        if level:
            builder.heading(level, text)
        else:
            builder.block(text)
    return builder


def _blocks(tree: "HtmlElement") -> Iterator[tuple[int, str]]:
    """(heading level or 0, text) of each block, without recursion: pages may nest deeply."""
    words: list[str] = []
    level = 0
    stack: list[tuple[Any, bool]] = [(tree, False)]
    while stack:
        node, leaving = stack.pop()
        tag = node.tag if isinstance(node.tag, str) else ""
        if leaving or tag in _SKIPPED or not tag:
            if leaving and (tag in _BLOCKS or tag in _HEADINGS):
                if "".join(words).strip():
                    yield level, " ".join("".join(words).split())
                words, level = [], 0
            words.append(node.tail or "")
            continue
        if tag in _BLOCKS or tag in _HEADINGS:
            if "".join(words).strip():
                yield level, " ".join("".join(words).split())
            words, level = [], _HEADINGS.get(tag, level if tag == "br" else 0)
        words.append(node.text or "")
        stack.append((node, True))
        stack += [(child, False) for child in reversed(node)]
    if "".join(words).strip():
        yield level, " ".join("".join(words).split())
