"""The runbook beside the figures: every alert's page, so that its link works without a network."""

from deploy.monitoring.dashboards.panels import Dashboard, Panel
from deploy.monitoring.runbook import PAGES

RUNBOOK = Dashboard(
    "runbook",
    "RAG: runbook",
    tuple(Panel(name, {}, kind="text", text=page) for name, page in PAGES.items()),
)
