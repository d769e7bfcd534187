"""The runbook's pages, one an alert, as docs/operations.md has them; and where an alert leads."""

import re
from pathlib import Path

_FILE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
_HEADING = re.compile(r"^## (RAG\w+)$", re.MULTILINE)


def _pages() -> dict[str, str]:
    _, *parts = _HEADING.split(_FILE.read_text(encoding="utf-8"))
    return dict(zip(parts[::2], (text.strip() for text in parts[1::2]), strict=True))


PAGES = _pages()
"""Alert name to its page in Markdown, in the order of the file."""


def link(pattern: str, alert: str) -> str:
    """The address of an alert's page: ANCHOR and PANEL of the pattern filled in.

    Raises: ValueError when nobody wrote the page.
    """
    if alert not in PAGES:
        raise ValueError(f"{_FILE}: has no page `## {alert}`; write what it means and what to do")
    number = list(PAGES).index(alert) + 1
    return pattern.replace("ANCHOR", alert.lower()).replace("PANEL", str(number))
