"""Sites, feeds and APIs against the contract."""

from abc import ABC, abstractmethod
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from rag_assets.config import (
    FeedConfig,
    HttpSettings,
    NotionConfig,
    Pagination,
    RestConfig,
    WebConfig,
)
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets_tests.sources import site
from rag_assets_tests.sources.contract import (
    DeletingSourceContract,
    ReachesTheSearch,
    SourceContract,
    opened,
)
from rag_assets_tests.sources.contract_http import OUTAGE, HttpContract, slept

__all__ = ["slept"]
LOOPBACK = HttpSettings(allow_private=True)


class TextsWorld(ABC):
    """Texts that a site serves in one way or another. away: its pages while it is broken."""

    away: dict[str, site.Answer]

    def __init__(self, served: site.Site, root: Path) -> None:
        self.site = served
        self.root = root
        self.texts: dict[str, str] = {}
        self.write()

    @abstractmethod
    def write(self):
        """Let the site serve the texts as they are now."""

    def put(self, name, text):
        self.texts[name] = text
        self.write()

    def delete(self, name):
        del self.texts[name]
        self.write()

    @contextmanager
    def broken(self):
        pages = self.site.pages
        self.site.pages = self.away
        yield
        self.site.pages = pages


class WebWorld(TextsWorld):
    away: ClassVar = {"/sitemap.xml": site.Answer(status=403)}

    def config(self):
        return WebConfig(
            name="s",
            type="web",
            start=[self.site.url("/sitemap.xml")],
            path=str(self.root),
            http=LOOPBACK,
        )

    def write(self):
        urls = "".join(f"<url><loc>{self.site.url(f'/{n}')}</loc></url>" for n in self.texts)
        self.site.pages = {"/sitemap.xml": site.Answer(f"<urlset>{urls}</urlset>".encode())}
        for name, text in self.texts.items():
            self.site.page(f"/{name}", f"<html><body><p>{text}</p></body></html>")

    def delete(self, name):
        super().delete(name)
        list(opened(self).scan())  # once is not enough: the next scan believes it


class TestWeb(DeletingSourceContract, HttpContract, ReachesTheSearch):
    troubles = OUTAGE

    @pytest.fixture
    def world(self, tmp_path):
        with site.serving() as served:
            yield WebWorld(served, tmp_path)


def test_a_hit_names_the_section_that_it_is_in(small, tmp_path):
    with site.serving() as served:
        parts = "".join(
            f"<section id='s-{n}'><h2>Rule {n}</h2><p>{text} {text}</p></section>"
            for n, text in enumerate(("The heron waits. " * 15, "Sourdough needs a night. " * 12))
        )
        page = f"<html><body><main><h1>Rules</h1>{parts}</main></body></html>"
        served.page("/docs/rules.html", page)
        said = {"name": "s", "type": "web", "start": [served.url("/docs/rules.html")]}
        said |= {"path": str(tmp_path / "kept"), "http": {"allow_private": True}}
        small.configure(sources=[said])
        assert small.refresh()["promoted"]
        base = KnowledgeBase.open(small.path)
        for number, query in enumerate(("who waits? the heron", "bread at night")):
            hit = base.search(query)[0]
            assert hit.heading[-1] == f"Rule {number}"
            assert hit.uri == served.url(f"/docs/rules.html#s-{number}")


class RestWorld:
    """Records in pages of one, by the page's number."""

    def __init__(self, served: site.Site) -> None:
        self.site = served
        self.texts: dict[str, str] = {}
        self.cut = False
        served.apis["/api/notes"] = self.notes

    def config(self):
        return RestConfig(
            name="s",
            type="rest",
            url=self.site.url("/api/notes"),
            records="data.notes",
            text="{title}: {body}",
            pagination=Pagination(kind="page", param="page"),
            http=LOOPBACK,
        )

    def notes(self, query, sent):
        page = int(query["page"])
        if self.cut and page == 2:
            return site.Answer(b'{"data": {"notes": [')
        notes = [{"id": n, "title": "Note", "body": self.texts[n]} for n in sorted(self.texts)]
        return site.as_json({"data": {"notes": notes[page - 1 : page]}})

    def put(self, name, text):
        self.texts[name] = text

    def delete(self, name):
        del self.texts[name]

    @contextmanager
    def broken(self):
        self.cut = True
        yield
        self.cut = False


class TestRest(DeletingSourceContract, HttpContract, ReachesTheSearch):
    @pytest.fixture
    def world(self):
        with site.serving() as served:
            yield RestWorld(served)


class FeedWorld(TextsWorld):
    away: ClassVar = {"/feed.xml": site.Answer(b"<html>Sign in first</html>")}

    def config(self):
        return FeedConfig(
            name="s",
            type="feed",
            feeds=[self.site.url("/feed.xml")],
            articles=False,
            http=LOOPBACK,
            path=str(self.root),
        )

    def write(self):
        items = "".join(
            f"<item><guid>{n}</guid><title>T</title><description>{t}</description></item>"
            for n, t in self.texts.items()
        )
        feed = f"<rss><channel>{items}</channel></rss>"
        self.site.pages = {"/feed.xml": site.Answer(feed.encode())}


class TestFeed(SourceContract, HttpContract, ReachesTheSearch):
    left = ("alpha", "beta", "gamma")  # what a feed no longer tells of stays

    @pytest.fixture
    def world(self, tmp_path):
        with site.serving() as served:
            yield FeedWorld(served, tmp_path)


class NotionWorld:
    """A fake of the two calls that the source makes: one page of results holds two pages."""

    def __init__(self, served: site.Site) -> None:
        self.site = served
        self.pages: dict[str, tuple[str, int]] = {}
        self.edits = 0
        self.cut = False
        served.posts["/v1/search"] = self.search

    def config(self):
        return NotionConfig(
            name="s", type="notion", token="t", url=self.site.url(""), http=LOOPBACK
        )

    def search(self, asked):
        if self.cut and asked.get("start_cursor"):
            return site.Answer(b"{}")
        start = int(asked.get("start_cursor", 0))
        names = sorted(self.pages)
        results = [
            {
                "id": name,
                "url": f"https://notion.example/{name}",
                "last_edited_time": f"2026-05-01T10:{self.pages[name][1]:02d}:00.000Z",
                "archived": False,
                "properties": {"Name": {"type": "title", "title": [{"plain_text": name}]}},
            }
            for name in names[start : start + 2]
        ]
        more = start + 2 < len(names)
        return site.as_json({"results": results, "has_more": more, "next_cursor": str(start + 2)})

    def children(self, name):
        block = {
            "id": "b",
            "type": "paragraph",
            "has_children": False,
            "paragraph": {"rich_text": [{"plain_text": self.pages[name][0]}]},
        }
        return site.as_json({"results": [block], "has_more": False})

    def put(self, name, words):
        self.edits += 1
        self.pages[name] = (words, self.edits)
        self.site.apis[f"/v1/blocks/{name}/children"] = lambda query, sent: self.children(name)

    def delete(self, name):
        del self.pages[name]
        del self.site.apis[f"/v1/blocks/{name}/children"]

    @contextmanager
    def broken(self):
        self.cut = True
        yield
        self.cut = False


class TestNotion(DeletingSourceContract, HttpContract, ReachesTheSearch):
    @pytest.fixture
    def world(self):
        with site.serving() as served:
            yield NotionWorld(served)
