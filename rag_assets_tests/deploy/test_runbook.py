"""docs/operations.md and docs/deployment.md: a page an alert, and files that exist."""

import re

import pytest

from deploy.monitoring.rules import rules
from rag_assets_tests.deploy.programs import DEPLOY

ROOT = DEPLOY.parent
ALERTS = [rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule]
MADE_BY_HAND = ("deploy/.env", "deploy/secrets/", "deploy/secrets/keys.env")
PAGES = [ROOT / "docs" / "operations.md", ROOT / "docs" / "deployment.md"]


def sections(text: str) -> dict[str, str]:
    """Anchor → what stands below its heading."""
    parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)
    headings = [re.sub(r"[^\w -]", "", part).lower().replace(" ", "-") for part in parts[1::2]]
    return dict(zip(headings, parts[2::2], strict=True))


def test_every_alert_leads_to_its_page() -> None:
    found = {page.name: sections(page.read_text(encoding="utf-8")) for page in PAGES}
    for alert in ALERTS:
        path, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert (ROOT / path).is_file(), path
        page = found[(ROOT / path).name][anchor]
        parts = re.findall(r"^\*\*(\w+)\.\*\* \S", page, re.MULTILINE)
        assert parts == ["Means", "Look", "Do"], anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`(deploy/[\w./-]+)`", text):
        assert (ROOT / path).exists() or path in MADE_BY_HAND, path
    known = sections(text)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        assert not file or (page.parent / file).exists(), target
        assert not anchor or file or anchor in known, target
