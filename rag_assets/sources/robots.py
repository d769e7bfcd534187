"""What a site's robots.txt lets us read, and how fast.

Source: RFC 9309, Robots Exclusion Protocol; Crawl-delay and Request-rate as search engines read
them.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

from rag_assets.sources.http import quoted

_MOST_BYTES = 500 << 10  # what a crawler must read at least
_ENCODED = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile("[A-Za-z0-9._~-]")


class Robots:
    """The rules of one robots.txt for one crawler. delay: seconds to leave between requests."""

    def __init__(self, body: bytes, agent: str) -> None:
        found = list(_lines(body[:_MOST_BYTES].decode("utf-8-sig", "replace")))
        groups = _groups(found)
        mine = groups.get(agent.lower(), groups.get("*", []))
        self._rules = [
            (_normal(path), key == "allow")
            for key, path in mine
            if key in {"allow", "disallow"} and path
        ]
        self.delay = max([0.0, *(_seconds(key, value) for key, value in mine)])

    def allows(self, url: str) -> bool:
        """Whether an address may be read: the longest rule that fits counts, of two equal ones the
        one that allows."""
        parts = urlsplit(quoted(url))
        path = _normal((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        fitting = [(len(rule), allowed) for rule, allowed in self._rules if _fits(rule, path)]
        return max(fitting)[1] if fitting else True


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        if colon:
            yield key.strip().lower(), value.strip()


def _groups(lines: list[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """Crawler → its lines; groups for the same crawler are one."""
    groups: dict[str, list[tuple[str, str]]] = {}
    agents: list[str] = []
    named = False  # whether the line before was one that names a crawler
    for key, value in lines:
        if key == "user-agent":
            agents = [*(agents if named else ()), value.partition("/")[0].lower()]
            groups.setdefault(agents[-1], [])
        elif key != "sitemap":
            for agent in agents:
                groups[agent].append((key, value))
        named = key == "user-agent"
    return groups


def _fits(rule: str, path: str) -> bool:
    """Whether a rule fits the beginning of a path; `*` is anything, `$` the end."""
    anchored = rule.endswith("$")
    first, *rest = rule.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    for number, part in enumerate(rest, start=1):
        if anchored and number == len(rest):
            return path.endswith(part) and len(path) - len(part) >= at
        at = path.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return not anchored or at == len(path)


def _normal(path: str) -> str:
    """A path in which equal ones are written alike: encoded where it must be and nowhere else."""

    def plain(found: re.Match[str]) -> str:
        letter = chr(int(found[1], 16))
        return letter if _UNRESERVED.match(letter) else f"%{found[1].upper()}"

    return _ENCODED.sub(plain, quoted(path))


def _seconds(key: str, value: str) -> float:
    """Between two requests, as a line asks for it."""
    with suppress(ValueError, ZeroDivisionError):
        if key == "crawl-delay":
            return float(value)
        if key == "request-rate":
            count, _, seconds = value.partition("/")
            return float(seconds) / float(count)
    return 0.0
