"""docs/operations.md and docs/deployment.md: a page an alert, and files that exist."""

import json
import re

import pytest

from deploy.monitoring.rules import rules
from deploy.monitoring.runbook import link
from rag_assets_tests.deploy.composed import services
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
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "runbook.json").read_text())
    shown = {str(panel["id"]): panel for panel in dashboard["panels"]}
    headings = sections(PAGES[0].read_text(encoding="utf-8"))
    for alert in ALERTS:
        address, _, number = alert["annotations"]["runbook_url"].partition("?viewPanel=")
        assert address == f"http://localhost:{grafana_port()}/d/{dashboard['uid']}"
        assert shown[number]["title"] == alert["alert"]
        page = shown[number]["options"]["content"]
        assert re.findall(r"^\*\*(\w+)\.\*\* \S", page, re.MULTILINE) == ["Means", "Look", "Do"]
        published = link("https://git.example.org/operations.md#ANCHOR", alert["alert"])
        assert headings[published.partition("#")[2]].strip() == page


def grafana_port() -> str:
    """Where compose.yaml publishes it."""
    [port] = services()["grafana"]["ports"]
    return str(port).split(":")[1]


def test_an_alert_without_a_page_is_refused() -> None:
    with pytest.raises(ValueError, match="has no page `## RAGNew`"):
        link("PANEL", "RAGNew")


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
