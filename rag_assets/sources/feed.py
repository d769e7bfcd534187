"""Source `feed`: articles of RSS and Atom feeds, kept when they roll off the feed.

New and changed items go to a durable inbox first; what is listed is the inbox. Absence from a feed
never deletes anything.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from rag_assets.config import FeedConfig
from rag_assets.errors import SourceError
from rag_assets.sources.base import Entry
from rag_assets.sources.http import HttpClient, Reply, Unreachable
from rag_assets.sources.inbox import MAX_ID, Inbox, Pushed

if TYPE_CHECKING:
    from lxml.etree import _Element


@dataclass(frozen=True, slots=True)
class _Item:
    """An item of a feed; `html` is what the feed itself holds of the article."""

    guid: str
    title: str
    link: str
    published: datetime | None
    author: str
    html: str

    @property
    def digest(self) -> str:
        """Changes when anything the feed says of the article does."""
        said = "\x1f".join([self.title, self.link, self.author, self.html, str(self.published)])
        return hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:32]


class FeedSource:
    """Articles by their guid."""

    def __init__(self, config: FeedConfig, client: HttpClient | None = None) -> None:
        self._config = config
        self._client = client or HttpClient(config.http)
        self._client.trust_only(config.feeds)
        self._inbox = Inbox.at(config, config.name)

    def scan(self) -> Iterator[Entry]:
        """Every article ever seen, after reading what is new.

        Raises: SourceError when a feed cannot be read; what the others brought is kept.
        """
        self._inbox.follow()
        problems = []
        for feed in self._config.feeds:
            try:
                for item in self._items(feed):
                    self._take_in(item, hashlib.sha256(feed.encode()).hexdigest()[:16])
            except Unreachable as error:
                problems.append(str(error))
        if problems:
            raise SourceError(
                f"source {self._config.name!r}: {problems[0]}; nothing of the source was changed"
            )
        yield from self._inbox.entries()

    def fetch(self, entry: Entry) -> bytes:
        """The article as it was taken in. Raises: OSError, SourceError."""
        return self._inbox.read(entry.key)

    def forget(self, key: str) -> bool:
        """Erase an article; it is not taken in again."""
        return self._inbox.erase(key)

    def let_in(self, key: str) -> None:
        """Take an article in again that was forgotten, if a feed still has it."""
        self._inbox.let_in(key)

    def _items(self, feed: str) -> list[_Item]:
        reply = self._client.get(feed)
        if reply.status != 200:
            raise Unreachable(f"{feed}: status {reply.status}")
        return _parsed(reply)

    def _take_in(self, item: _Item, feed: str) -> None:
        """Keep an item that is new or says something new.

        Two feeds may count their items alike: what another feed brought stays, and one with another
        link gets a key of its own.
        """
        key, held = item.guid, self._inbox.header(item.guid)
        if held is not None and (held["metadata"] or {}).get("feed", feed) != feed:
            if (held.get("uri") or "") == item.link:
                return
            key = hashlib.sha256(f"{feed}\x1f{item.guid}".encode()).hexdigest()
            held = self._inbox.header(key)
        if held is not None and held.get("erased"):
            return
        if held is not None and (held["metadata"] or {}).get("feed_digest") == item.digest:
            return
        data = self._article(item)
        metadata = {"feed": feed, "feed_digest": item.digest, "author": item.author or None}
        if item.published:
            metadata["published"] = item.published.isoformat()
        pushed = Pushed(
            name="article.html",
            uri=item.link or None,
            title=item.title or None,
            metadata={key: value for key, value in metadata.items() if value},
        )
        self._inbox.put(key, data, pushed)

    def _article(self, item: _Item) -> bytes:
        """The page behind an item; what the feed holds where there is none to be had."""
        if self._config.articles and item.link:
            try:
                reply = self._client.get(item.link)
            except Unreachable:
                reply = None
            if reply is not None and reply.status == 200 and reply.body.strip():
                return reply.body
        return f"<h1>{escape(item.title)}</h1>\n{item.html}".encode("utf-8", "replace")


def _parsed(reply: Reply) -> list[_Item]:
    """The items of an RSS, RDF or Atom feed. Raises: Unreachable when it is none."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    try:
        root = etree.fromstring(reply.body, parser)
    except etree.XMLSyntaxError as error:
        raise Unreachable(f"{reply.url}: it is not a feed: {error}") from error
    if root is None or etree.QName(root).localname.lower() not in {"rss", "rdf", "feed"}:
        raise Unreachable(f"{reply.url}: it is not a feed")
    return [item for node in root.iter("{*}item", "{*}entry") if (item := _item(node, reply.url))]


def _item(node: "_Element", base: str) -> _Item | None:
    link = _link(node, base)
    guid = _text(node, "guid", "id") or link
    if not guid:
        return None
    if len(guid) > MAX_ID or not guid.isprintable():
        guid = hashlib.sha256(guid.encode()).hexdigest()
    return _Item(
        guid=guid,
        title=" ".join(_text(node, "title").split()),
        link=link,
        published=_time(_text(node, "pubDate", "published", "updated", "date")),
        author=_text(node, "creator", "author"),
        html=_text(node, "encoded", "content", "description", "summary"),
    )


def _text(node: "_Element", *names: str) -> str:
    """The text of the first child of one of these names that has any."""
    for name in names:
        for child in node.iterchildren(f"{{*}}{name}"):
            text = "".join(child.itertext()).strip()
            if text:
                return text
    return ""


def _link(node: "_Element", base: str) -> str:
    for child in node.iterchildren("{*}link"):
        if child.get("rel", "alternate") == "alternate":
            target = child.get("href") or (child.text or "").strip()
            if target:
                with suppress(ValueError):
                    return urljoin(base, target)
    return ""


def _time(text: str) -> datetime | None:
    """A date as RSS (RFC 822) or Atom (ISO 8601) writes it."""
    try:
        found = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
