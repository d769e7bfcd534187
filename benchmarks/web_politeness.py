"""How a site is read: the pace, and what a second look costs when little changed.

    python -m benchmarks.web_politeness [--pages 200] [--interval 0.05]

A local site of pages of some 20 kB behind a sitemap index, with ETags; then 5 % of them change.
"""

import argparse
import tempfile
import time

from rag_assets.config import HttpSettings, WebConfig
from rag_assets.sources.web import WebSource
from rag_assets_tests.sources import site


def filled(served: site.Site, pages: int, changed: int) -> None:
    """Pages behind two sitemaps; `changed` of them say something else."""
    names = [f"/docs/p{number}" for number in range(pages)]
    halves = {"/docs/a.xml": names[::2], "/docs/b.xml": names[1::2]}
    index = "".join(f"<sitemap><loc>{served.url(name)}</loc></sitemap>" for name in halves)
    served.pages["/docs/sitemap.xml"] = site.Answer(
        f"<sitemapindex>{index}</sitemapindex>".encode()
    )
    for name, listed in halves.items():
        urls = "".join(f"<url><loc>{served.url(page)}</loc></url>" for page in listed)
        served.pages[name] = site.Answer(f"<urlset>{urls}</urlset>".encode())
    for number, name in enumerate(names):
        words = f"Page {number}, edition {2 if number < changed else 1}. " * 700
        served.page(name, f"<html><body><p>{words}</p></body></html>")


def measured(served: site.Site, config: WebConfig) -> dict[str, float]:
    """One scan: requests, bytes of bodies, seconds, requests a second."""
    served.requests.clear()
    served.sent = 0
    started = time.perf_counter()
    listed = sum(1 for _ in WebSource(config).scan())
    seconds = time.perf_counter() - started
    count = len(served.requests)
    return {
        "documents": listed,
        "requests": count,
        "bytes": served.sent,
        "seconds": round(seconds, 2),
        "requests_per_second": round((count - 1) / seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--interval", type=float, default=0.05)
    given = parser.parse_args()
    with site.serving() as served, tempfile.TemporaryDirectory() as folder:
        http = HttpSettings(allow_private=True, interval=given.interval)
        start = [served.url("/docs/sitemap.xml")]
        config = WebConfig(name="w", type="web", start=start, path=folder, http=http)
        filled(served, given.pages, 0)
        print("first scan", measured(served, config))
        print("nothing changed", measured(served, config))
        filled(served, given.pages, given.pages // 20)
        print("5 % changed", measured(served, config))
        served.pages["/robots.txt"] = site.Answer(b"User-agent: *\nRequest-rate: 5/1\n")
        print("Request-rate: 5/1", measured(served, config))


if __name__ == "__main__":
    main()
