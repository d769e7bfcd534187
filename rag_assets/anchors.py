"""Where the sections of a page can be linked to: `#install` below `Setup › Install`."""

import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lxml.html import HtmlElement

KEY = "anchors"
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_SECTIONS = {"section", "article", "div", "details"}
_BETWEEN = "\n"  # no title spans two lines


class _Heading(Protocol):
    @property
    def level(self) -> int: ...
    @property
    def title(self) -> str: ...


def section_anchors(tree: "HtmlElement", headings: Sequence[_Heading]) -> str | None:
    """The anchors of a page's headings as JSON, by the path of titles; None without any.

    A heading of the text is one of the page when the titles above it are the same, or when the page
    has but one of its words: an extractor may leave headings out.
    """
    known: dict[tuple[str, ...], str | None] = {}
    above: list[tuple[int, str]] = []
    for element in tree.iter(*_HEADINGS):
        level, words = int(element.tag[1]), _words("".join(element.itertext()))
        above = [*(step for step in above if step[0] < level), (level, words)]
        known.setdefault(tuple(step[1] for step in above), _anchor(element))
    times = Counter(path[-1] for path in known)
    single = {path[-1]: anchor for path, anchor in known.items() if times[path[-1]] == 1}
    found: dict[str, str] = {}
    path: list[_Heading] = []
    for heading in headings:
        path = [*(step for step in path if step.level < heading.level), heading]
        titles = [step.title for step in path]
        words = _words(heading.title)
        anchor = known.get(tuple(map(_words, titles)), single.get(words))
        if anchor:
            found.setdefault(_BETWEEN.join(titles), anchor)
    return json.dumps(found, ensure_ascii=False) if found else None


def anchor_of(anchors: str, heading: Sequence[str]) -> str | None:
    """The anchor of the innermost section around a passage that has one."""
    known = _read(anchors)
    for end in range(len(heading), 0, -1):
        anchor = known.get(_BETWEEN.join(heading[:end]))
        if anchor is not None:
            return str(anchor)
    return None


@lru_cache(maxsize=1024)
def _read(anchors: str) -> dict[str, str]:
    return dict(json.loads(anchors))


def _anchor(element: "HtmlElement") -> str | None:
    """The id of a heading, of a mark in it, or of the section that it opens."""
    own = element.get("id")
    if own:
        return str(own)
    for inner in element.iter("a", "span"):
        mark = inner.get("id") or inner.get("name")
        if mark:
            return str(mark)
    around = element.getparent()
    if around is not None and around.tag in _SECTIONS and around.get("id"):
        first = next(around.iter(*_HEADINGS), None)
        return str(around.get("id")) if first is element else None
    return None


def _words(title: str) -> str:
    """Letters and digits alone: marks such as ¶ and markdown's signs come and go."""
    return "".join(letter for letter in title.casefold() if letter.isalnum())
