"""Source `web`: the pages of a site, by its sitemaps or its links, kept between scans.

A page that the server says is unchanged is not sent again. One that answers 404 or 410 twice in a
row is gone; one that cannot be had for any other reason stays as it was.
"""

import codecs
import hashlib
import json
import os
import posixpath
import re
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from rag_assets.config import WebConfig
from rag_assets.errors import SourceError
from rag_assets.sources.base import Entry
from rag_assets.sources.http import HttpClient, Reply, Unreachable, quoted
from rag_assets.sources.robots import Robots
from rag_assets.sources.sitemap import Sitemap, sitemap_in

_AGENT = "rag-assets"
_TIMES_GONE = 2  # scans in a row that a page must be missing from before it is gone
_MOST_UNREACHABLE = 0.2  # share of pages that may fail before the whole site counts as down
_MOST_SITEMAPS = 1000
_NOT_PAGES = (
    ".css", ".js", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".ico", ".webp", ".woff", ".woff2",
    ".mp3", ".mp4", ".webm", ".zip", ".gz", ".exe", ".dmg", ".iso",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Page:
    """What is kept of a page: its bytes by digest, the server's validators, and how it fared.

    links: addresses it leads to. gone: scans in a row in which it was missing.
    """

    url: str
    digest: str
    size: int
    kind: str
    etag: str = ""
    modified: str = ""
    links: tuple[str, ...] = ()
    gone: int = 0
    hidden: bool = False


class _Found(NamedTuple):
    """What an address holds: a page, None for a sitemap and what is gone; where it leads."""

    page: _Page | None
    links: tuple[str, ...] = ()
    sitemaps: tuple[str, ...] = ()


class WebSource:
    """The pages of a site. Keys are addresses without the scheme."""

    def __init__(self, config: WebConfig, client: HttpClient | None = None) -> None:
        self._config = config
        self._client = client or HttpClient(config.http)
        self._folder = Path(config.path)
        self._prefix = quoted(config.prefix) or _folder_of(config.start[0])
        self._rules: dict[tuple[str, str], Robots] = {}

    def scan(self) -> Iterator[Entry]:
        """Every page within the prefix that robots.txt allows.

        Raises: SourceError when a start page or more than a fifth of the pages cannot be read, or
        there are more pages than `max_pages`.
        """
        known = self._known()
        self._rules = {}
        pages = self._crawled(known)
        self._remember(pages)
        for page in sorted(pages.values(), key=lambda page: page.url):
            if not page.hidden:
                yield _entry(page)

    def fetch(self, entry: Entry) -> bytes:
        """The bytes that the last scan got. Raises: OSError, SourceError."""
        page = self._known().get(entry.uri)
        if page is None:
            raise SourceError(f"{entry.uri}: the page is gone; refresh again")
        return self._file(page.digest).read_bytes()

    def forget(self, key: str) -> bool:
        """Remove a page; it goes on being visited for its links, but its text is not kept."""
        pages = self._known()
        found = [page for page in pages.values() if _entry(page).key == key]
        for page in found:
            names = [*self._forgotten(), _hashed(page.url)]
            _replace(self._folder / "forgotten.json", json.dumps(sorted(set(names))).encode())
            pages[page.url] = replace(page, digest="", hidden=True)
        if found:
            self._remember(pages)
        return bool(found)

    def let_in(self, key: str) -> None:
        """Read a page again that was forgotten."""
        pages = self._known()
        for page in [page for page in pages.values() if _entry(page).key == key]:
            names = set(self._forgotten()) - {_hashed(page.url)}
            _replace(self._folder / "forgotten.json", json.dumps(sorted(names)).encode())
            pages[page.url] = replace(page, etag="", modified="")
        self._remember(pages)

    def _forgotten(self) -> list[str]:
        try:
            return list(json.loads((self._folder / "forgotten.json").read_bytes()))
        except FileNotFoundError:
            return []

    def _crawled(self, known: dict[str, _Page]) -> dict[str, _Page]:
        pages: dict[str, _Page] = {}
        unreachable: list[str] = []
        starts = [_plain(url) for url in self._config.start]
        self._robots(starts[0])
        # A list that cannot be read would let all that it leads to look as if it were gone.
        lists = set(starts)
        queue = deque(dict.fromkeys(starts))
        queued = set(queue)
        while queue:
            url = queue.popleft()
            if not self._robots(url).allows(url):
                continue
            try:
                found = self._visited(url, known.get(url), url in starts)
            except Unreachable as error:
                if url in lists:
                    raise self._failed(str(error)) from error
                unreachable.append(str(error))
                page = known.get(url)
                found = _Found(page, page.links if page else ())
            if found.page is not None:
                pages[url] = found.page
                if len(pages) > self._config.max_pages:
                    raise self._failed(
                        f"more than max_pages: {self._config.max_pages}; raise it or narrow prefix"
                    )
            lists.update(found.sitemaps)
            if len(lists) > _MOST_SITEMAPS:
                raise self._failed(f"more than {_MOST_SITEMAPS} sitemaps")
            inside = (link for link in found.links if self._is_inside(link))
            for link in dict.fromkeys((*found.sitemaps, *inside)):
                if link not in queued:
                    queued.add(link)
                    queue.append(link)
        if len(unreachable) > _MOST_UNREACHABLE * len(queued):
            raise self._failed(f"{len(unreachable)} pages cannot be read; first: {unreachable[0]}")
        return {**pages, **_missing_once(known, pages, queued)}

    def _visited(self, url: str, known: _Page | None, start: bool) -> _Found:
        headers = {}
        if known and (known.hidden or self._file(known.digest).exists()):
            pairs = (("If-None-Match", known.etag), ("If-Modified-Since", known.modified))
            headers = {name: value for name, value in pairs if value}
        reply = self._client.get(url, headers)
        if reply.status == 304 and known:
            return _Found(replace(known, gone=0), known.links)
        if reply.status in {404, 410}:
            if start:
                raise Unreachable(f"{url}: status {reply.status}")
            return _Found(_gone_again(known))
        if reply.status != 200:
            raise Unreachable(f"{url}: status {reply.status}")
        sitemap = sitemap_in(reply)
        if sitemap is not None:
            return self._listed(url, sitemap)
        arrived = _plain(reply.url)
        if arrived != url:  # a redirect: the page belongs to where it led, if that is in the site
            if start and not self._is_inside(arrived):
                raise Unreachable(f"{url}: redirects to {arrived}, outside of {self._prefix}")
            return _Found(None, (arrived,))
        page = self._page(url, reply)
        return _Found(page, page.links)

    def _listed(self, url: str, sitemap: Sitemap) -> _Found:
        """What a sitemap lists: pages, or further sitemaps of its own host, wherever they lie."""
        locations = tuple(filter(None, (_joined(url, found) for found in sitemap.locations)))
        if not sitemap.of_sitemaps:
            return _Found(None, locations)
        host = urlsplit(url).netloc
        return _Found(None, (), tuple(one for one in locations if urlsplit(one).netloc == host))

    def _page(self, url: str, reply: Reply) -> _Page:
        digest = hashlib.sha256(reply.body).hexdigest()
        forgotten = _hashed(url) in self._forgotten()
        if not forgotten:
            self._keep(digest, reply.body)
        kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        html = kind in {"", "text/html", "application/xhtml+xml"}
        links, hidden = _links(reply) if html else ((), False)
        return _Page(
            url=url,
            digest="" if forgotten else digest,
            size=len(reply.body),
            kind=kind,
            etag=reply.headers.get("etag", ""),
            modified=reply.headers.get("last-modified", ""),
            links=links,
            hidden=hidden or forgotten,
        )

    def _is_inside(self, url: str) -> bool:
        return url.startswith(self._prefix) and not urlsplit(url).path.lower().endswith(_NOT_PAGES)

    def _robots(self, url: str) -> Robots:
        """The robots.txt of an address's host; none allows everything.

        Raises: SourceError when it cannot be had: what it forbids is not known then.
        """
        host = urlsplit(url)[:2]
        if host not in self._rules:
            try:
                reply = self._client.get("://".join(host) + "/robots.txt")
            except Unreachable as error:
                raise self._failed(str(error)) from error
            self._rules[host] = Robots(reply.body if reply.status == 200 else b"", _AGENT)
            self._client.keep_apart(self._rules[host].delay)
        return self._rules[host]

    def _known(self) -> dict[str, _Page]:
        """The pages as the last scan left them."""
        try:
            stored = json.loads((self._folder / "pages.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise self._failed(f"{self._folder / 'pages.json'} is damaged: {error}") from error
        return {row["url"]: _Page(**{**row, "links": tuple(row["links"])}) for row in stored}

    def _remember(self, pages: dict[str, _Page]) -> None:
        rows = [asdict(page) for page in pages.values()]
        _replace(self._folder / "pages.json", json.dumps(rows, ensure_ascii=False).encode())
        wanted = {page.digest for page in pages.values()}
        for file in self._folder.glob("bodies/??/*"):
            if file.name not in wanted:
                file.unlink(missing_ok=True)

    def _keep(self, digest: str, body: bytes) -> None:
        file = self._file(digest)
        if not file.exists():
            _replace(file, body)

    def _file(self, digest: str) -> Path:
        return self._folder / "bodies" / digest[:2] / digest

    def _failed(self, why: str) -> SourceError:
        return SourceError(
            f"source {self._config.name!r}: {why}; nothing of the source was changed"
        )


def _missing_once(
    known: dict[str, _Page], pages: dict[str, _Page], queued: set[str]
) -> dict[str, _Page]:
    """Known pages that nothing led to this time; they stay for one more scan."""
    missed = {url: page for url, page in known.items() if url not in pages and url not in queued}
    again = {url: _gone_again(page) for url, page in missed.items()}
    return {url: page for url, page in again.items() if page is not None}


def _gone_again(page: _Page | None) -> _Page | None:
    """A page that was missing once more; None when that is enough."""
    if page is None or page.gone + 1 >= _TIMES_GONE:
        return None
    return replace(page, gone=page.gone + 1)


def _entry(page: _Page) -> Entry:
    parts = urlsplit(page.url)
    name = unquote(posixpath.basename(parts.path)) or "index.html"
    suffixed = "." in name or page.kind not in {"", "text/html", "application/xhtml+xml"}
    try:
        modified = parsedate_to_datetime(page.modified).astimezone(UTC)
    except (ValueError, TypeError):
        modified = None
    return Entry(
        key=page.url.partition("://")[2],
        uri=page.url,
        name=name if suffixed else f"{name}.html",
        token=page.digest[:32],
        size=page.size,
        modified_at=modified if isinstance(modified, datetime) else None,
    )


def _links(reply: Reply) -> tuple[tuple[str, ...], bool]:
    """(where a page leads, whether it asks not to be indexed)."""
    from lxml import etree, html

    try:
        parser = html.HTMLParser(encoding=_charset(reply))
        tree = html.document_fromstring(reply.body, parser=parser)
    except (etree.LxmlError, ValueError):
        return (), False
    robots = " ".join(tree.xpath("//meta[translate(@name,'ROBTS','robts')='robots']/@content"))
    base = _joined(reply.url, next(iter(tree.xpath("//base/@href")), "")) or reply.url
    found = [] if "nofollow" in robots.lower() else tree.xpath("//a[@href]")
    targets = [
        str(node.get("href")).strip() for node in found if "nofollow" not in node.get("rel", "")
    ]
    links = dict.fromkeys(_joined(base, target) for target in targets)
    return tuple(link for link in links if link), "noindex" in robots.lower()


def _charset(reply: Reply) -> str | None:
    """In which letters a page is written; None leaves it to what the page itself says."""
    found = _CHARSET.search(reply.headers.get("content-type", ""))
    if found is not None:
        with suppress(LookupError):
            return codecs.lookup(found[1]).name
    try:
        reply.body.decode()
    except UnicodeDecodeError:
        return None
    return "utf-8"


_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)


def _joined(base: str, target: str) -> str:
    """Where a link leads; nothing where it is none to a page."""
    try:
        url = urljoin(base, target)
        parts = urlsplit(url)
        is_page = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or 1) > 0
        return _plain(url) if is_page and "@" not in parts.netloc else ""
    except ValueError:
        return ""


def _plain(url: str) -> str:
    """An address as it is asked, without its fragment, with at least `/` as its path."""
    bare = quoted(urldefrag(url).url)
    parts = urlsplit(bare)
    return parts._replace(path=parts.path or "/").geturl() if parts.netloc else bare


def _folder_of(url: str) -> str:
    parts = urlsplit(_plain(url))
    return f"{parts.scheme}://{parts.netloc}{parts.path.rpartition('/')[0]}/"


def _hashed(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    os.replace(temporary, path)
