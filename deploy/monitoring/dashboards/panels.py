"""Panels and dashboards as data, and as the JSON that Grafana imports."""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["timeseries", "stat", "bargauge", "text"]
KB = 'knowledge_base=~"$knowledge_base"'
GOOD_ABOVE = ((None, "red"), (0.2, "orange"), (0.8, "green"))
BAD_ABOVE = ((None, "green"), (1, "red"))
_WIDTH = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": _LAST, "textMode": "value_and_name", "colorMode": "value"},
    "bargauge": {"reduceOptions": _LAST, "displayMode": "basic", "orientation": "horizontal"},
}


@dataclass(frozen=True)
class Panel:
    """One panel.

    queries: PromQL to legend. unit: of Grafana. text: what a person reads behind its `i`; of a
    panel of the kind `text` it is all there is, in Markdown. steps: (from value, colour).
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: Kind = "timeseries"
    text: str = ""
    width: int = 12
    steps: tuple[tuple[float | None, str], ...] = ()


@dataclass(frozen=True)
class Dashboard:
    """One dashboard. Its panels are laid out row by row."""

    name: str
    title: str
    panels: tuple[Panel, ...]


def stat(title: str, query: str, unit: str = "short", steps: Any = (), text: str = "") -> Panel:
    """One figure a knowledge base."""
    return Panel(title, {query: "{{knowledge_base}}"}, unit, "stat", text, 6, steps)


def as_json(dashboard: Dashboard) -> dict[str, Any]:
    """What Grafana 10 and later imports."""
    return {
        "uid": f"rag-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["rag_assets"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "",
        "templating": {"list": _variables()},
        "panels": _laid_out(dashboard.panels),
    }


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {
            "name": "knowledge_base",
            "type": "query",
            "label": "Knowledge base",
            "datasource": _SOURCE,
            "query": "label_values(rag_index_version, knowledge_base)",
            "refresh": 2,
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _laid_out(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    found, x, y, tallest = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        height = 4 if panel.kind == "stat" else 8
        if x + panel.width > _WIDTH:
            x, y, tallest = 0, y + tallest, 0
        found.append(_panel(number, panel, {"x": x, "y": y, "w": panel.width, "h": height}))
        x, tallest = x + panel.width, max(tallest, height)
    return found


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    made = {"id": number, "type": panel.kind, "title": panel.title, "gridPos": place}
    if panel.kind == "text":
        return made | {"options": {"mode": "markdown", "content": panel.text}}
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.steps:
        steps = [{"value": value, "color": colour} for value, colour in panel.steps]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    return made | {
        "description": panel.text,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [
            {
                "refId": chr(ord("A") + position),
                "datasource": _SOURCE,
                "expr": query,
                "legendFormat": legend,
                "instant": panel.kind != "timeseries",
                "range": panel.kind == "timeseries",
            }
            for position, (query, legend) in enumerate(panel.queries.items())
        ],
    }
