"""The Grafana dashboards, as data. Written out by `python -m deploy.monitoring`."""

from deploy.monitoring.dashboards.costs import COSTS
from deploy.monitoring.dashboards.health import HEALTH
from deploy.monitoring.dashboards.panels import Dashboard, Panel, as_json
from deploy.monitoring.dashboards.quality import QUALITY
from deploy.monitoring.dashboards.runbook import RUNBOOK
from deploy.monitoring.dashboards.service import SERVICE

DASHBOARDS = (HEALTH, QUALITY, COSTS, SERVICE, RUNBOOK)

__all__ = ["DASHBOARDS", "Dashboard", "Panel", "as_json"]
