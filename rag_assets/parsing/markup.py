"""An HTML tree as markdown blocks: everything a reader would see, in order."""

import re
from typing import TYPE_CHECKING

from rag_assets.parsing.building import TextBuilder

if TYPE_CHECKING:
    from lxml.html import HtmlElement

_SKIPPED = {"script", "style", "noscript", "template", "head", "svg", "iframe", "object", "canvas"}
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "center", "dd", "details", "div", "dl",
    "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "legend",
    "main", "nav", "p", "section", "summary", "caption",
}  # fmt: skip
_SPACE = re.compile(r"[ \t\n\r\f]+")


def render(tree: "HtmlElement", skipped: frozenset[str] = frozenset()) -> TextBuilder:
    """The text below an element; see `render_into`."""
    builder = TextBuilder()
    render_into(builder, tree, skipped)
    return builder


def render_into(
    builder: TextBuilder, tree: "HtmlElement", skipped: frozenset[str] = frozenset()
) -> None:
    """Add the text below an element: headings, paragraphs, lists, tables, code blocks and links.

    skipped: names of elements to leave out, besides those that never show.
    """
    from lxml import etree

    writer = _Writer(builder, _SKIPPED | skipped)
    # iterwalk keeps its own stack: pages may nest deeper than Python can recurse.
    for event, element in etree.iterwalk(tree, events=("start", "end")):
        if isinstance(element.tag, str):
            tag = etree.QName(element).localname.lower()
            if event == "start":
                writer.start(tag, element)
            else:
                writer.end(tag)
        if event == "end" and element is not tree:
            writer.text(element.tail)
    writer.flush()


class _Writer:
    """Blocks written as elements open and close."""

    def __init__(self, builder: TextBuilder, skipped: set[str]) -> None:
        self.builder = builder
        self._skipped = skipped
        self._hidden = 0
        self._words: list[str] = []
        self._preformatted = 0
        self._language = ""
        self._lists: list[int | None] = []  # the next number, None for bullets
        self._links: list[tuple[int, str]] = []
        self._rows: list[list[str]] = []
        self._tables = 0

    def start(self, tag: str, element: "HtmlElement") -> None:
        """An element opens."""
        if self._hidden or tag in self._skipped or element.get("hidden") is not None:
            self._hidden += 1
            return
        self._open(tag, element)
        self.text(element.text)

    def _open(self, tag: str, element: "HtmlElement") -> None:
        if tag == "br":
            self._words.append("\n")
        elif tag == "img":
            self.text(element.get("alt"))
        elif tag == "a":
            self._links.append((len(self._words), element.get("href") or ""))
        elif tag == "pre":
            self.flush()
            self._preformatted += 1
            self._language = _language(element)
        elif tag == "code" and self._preformatted:
            self._language = self._language or _language(element)
        elif tag == "code":
            self._words.append("`")
        elif tag in {"td", "th"} and self._tables:
            self._words.append("\t")
        elif tag == "table":
            if not self._tables:
                self.flush()
            self._tables += 1
        elif tag in {"ul", "ol", "menu"}:
            self.flush()
            self._lists.append(1 if tag == "ol" else None)
        elif tag in _BLOCKS or tag in _HEADINGS or tag in {"li", "tr"}:
            self.flush()

    def end(self, tag: str) -> None:
        """The innermost open element closes."""
        if self._hidden:
            self._hidden -= 1
            return
        if tag in _HEADINGS and not self._tables:
            self.builder.heading(_HEADINGS[tag], self._taken())
        elif tag == "a" and self._links:
            self._close_link()
        elif tag == "pre" and self._preformatted:
            self._close_code()
        elif tag == "code" and not self._preformatted:
            self._words.append("`")
        elif tag == "li":
            self._close_item()
        elif tag in {"ul", "ol", "menu"}:
            self.flush()
            if self._lists:
                self._lists.pop()
        elif tag == "tr" and self._tables == 1:
            self._close_row()
        elif tag == "table" and self._tables:
            self._tables -= 1
            if not self._tables:
                self._close_row()
                self.builder.table(self._rows)
                self._rows = []
        elif tag in _BLOCKS:
            self.flush()

    def text(self, text: str | None) -> None:
        """Characters between elements."""
        if text and not self._hidden:
            self._words.append(text if self._preformatted else _SPACE.sub(" ", text))

    def flush(self) -> None:
        """End the paragraph, unless it is inside a table cell."""
        if self._tables:
            self._words.append(" ")
        elif self._preformatted:
            self._words.append("\n")
        elif self._lists:
            self._close_item()
        else:
            self.builder.block(self._taken())

    def _taken(self) -> str:
        lines = "".join(self._words).split("\n")
        self._words = []
        self._links = [(0, target) for _, target in self._links]
        return "\n".join(" ".join(line.split()) for line in lines).strip()

    def _close_link(self) -> None:
        start, target = self._links.pop()
        words = "".join(self._words[start:])
        # Links within the page and scripts lead nowhere from a chunk.
        if words.strip() and target and not target.startswith(("#", "javascript:", "data:")):
            before, after = words[: len(words) - len(words.lstrip())], words[len(words.rstrip()) :]
            self._words[start:] = [f"{before}[{words.strip()}]({target.strip()}){after}"]

    def _close_code(self) -> None:
        self._preformatted -= 1
        code = "".join(self._words).strip("\n")
        self._words = []
        if code.strip():
            fence = "```" if "```" not in code else "~~~~"
            self.builder.block(f"{fence}{self._language}\n{code}\n{fence}")
        self._language = ""

    def _close_item(self) -> None:
        words = self._taken()
        if not words or not self._lists:
            self.builder.block(words)
            return
        indent = "  " * (len(self._lists) - 1)
        number = self._lists[-1]
        mark = "-" if number is None else f"{number}."
        if number is not None:
            self._lists[-1] = number + 1
        lines = words.replace("\n", f"\n{indent}  ")
        self.builder.item(f"{indent}{mark} {lines}")

    def _close_row(self) -> None:
        cells = "".join(self._words).split("\t")[1:]
        self._words = []
        if any(cell.strip() for cell in cells):
            self._rows.append(cells)


def _language(element: "HtmlElement") -> str:
    """The language that a code element's class names."""
    match = re.search(r"(?:language|lang|highlight-source)-([\w+#-]+)", element.get("class") or "")
    return match[1] if match else ""
