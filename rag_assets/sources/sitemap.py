"""The addresses that sitemaps list."""

import re
from typing import NamedTuple

from rag_assets.sources.http import Reply, Unreachable, unpacked

_PACKED = b"\x1f\x8b"
_KIND = re.compile(rb"<(?:\w+:)?(urlset|sitemapindex)[\s>/]", re.IGNORECASE)
_END = re.compile(rb"</(?:\w+:)?(?:urlset|sitemapindex)\s*>|<(?:urlset|sitemapindex)[^>]*/>", re.I)


class Sitemap(NamedTuple):
    """locations: addresses of pages, or of further sitemaps."""

    locations: list[str]
    of_sitemaps: bool


def sitemap_in(reply: Reply) -> Sitemap | None:
    """The sitemap that an answer is; None for anything else.

    Raises: Unreachable when it breaks off: what it lacks would look as if it were gone.
    """
    body = reply.body
    if body.startswith(_PACKED):
        try:
            body = unpacked(reply.url, body)
        except OSError:
            return None  # some other packed file
    kind = _KIND.search(body[:2000])
    if kind is None:
        return None
    if not _END.search(body[-2000:]):
        raise Unreachable(f"{reply.url}: the sitemap is cut off")
    from lxml import etree

    # Many sitemaps are not quite XML, by a bare `&` in an address.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    root = etree.fromstring(body, parser)
    if root is None:
        raise Unreachable(f"{reply.url}: the sitemap cannot be read")
    located = root.iterfind("{*}*/{*}loc")
    locations = [str(node.text).strip() for node in located if node.text]
    return Sitemap(locations, kind[1].lower() == b"sitemapindex")
