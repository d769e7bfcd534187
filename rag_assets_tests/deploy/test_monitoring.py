"""Rules and dashboards: generated, tested by promtool, run on a real Prometheus with real data."""

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from deploy.monitoring.__main__ import files
from deploy.monitoring.dashboards import DASHBOARDS, as_json
from deploy.monitoring.rules import rules
from rag_assets.costs.ledger import Entry, Ledger, now
from rag_assets.service.keys import KeyStore
from rag_assets_tests.conftest import SUBJECTS, SmallBase, document
from rag_assets_tests.deploy.programs import (
    DEPLOY,
    alertmanager,
    fetched,
    needs_prometheus,
    prometheus_at,
    until,
)
from rag_assets_tests.notify.conftest import Receiver, receiver
from rag_assets_tests.operations.conftest import CLI, Start, exporter, start

__all__ = ["exporter", "receiver", "start"]

UNITS = {"short", "s", "bytes", "percentunit", "currencyUSD", "reqps"}  # Grafana's names
ALERTS = [rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule]


def test_what_is_committed_is_what_the_code_writes() -> None:
    for path, content in files().items():
        assert path.read_text(encoding="utf-8") == content, (
            f"{path} is not what `python -m deploy.monitoring` writes"
        )
    dashboards = {path.stem for path in (DEPLOY / "grafana" / "dashboards").glob("*.json")}
    assert dashboards == {dashboard.name for dashboard in DASHBOARDS}


@needs_prometheus
def test_every_alert_fires_on_what_it_is_for() -> None:
    folder = DEPLOY / "prometheus"
    for command in (
        ["promtool", "check", "rules", "rules.yml"],
        ["promtool", "check", "config", "--syntax-only", "prometheus.yml"],
        ["promtool", "test", "rules", "rules_test.yml"],
        ["amtool", "check-config", "../alertmanager/alertmanager.yml"],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_firing_test_and_a_page_in_the_runbook() -> None:
    tested = yaml.safe_load((DEPLOY / "prometheus" / "rules_test.yml").read_text())
    fired = {
        case["alertname"]
        for group in tested["tests"]
        for case in group["alert_rule_test"]
        if case["exp_alerts"]
    }
    names = {alert["alert"] for alert in ALERTS}
    assert fired == names
    runbook = (DEPLOY.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^#+ (RAG\w+)$", runbook, re.MULTILINE))
    assert headings == names


def test_dashboards_are_whole() -> None:
    for dashboard in DASHBOARDS:
        made = as_json(dashboard)
        places = [panel["gridPos"] for panel in made["panels"]]
        covered = [
            (place["x"] + dx, place["y"] + dy)
            for place in places
            for dx in range(place["w"])
            for dy in range(place["h"])
        ]
        assert len(covered) == len(set(covered)), "no panel lies on another"
        assert all(x < 24 for x, _ in covered)
        assert len({panel["title"] for panel in made["panels"]}) == len(made["panels"])


def test_every_panel_says_what_it_shows() -> None:
    panels = [p for d in DASHBOARDS for p in as_json(d)["panels"] if p["type"] != "text"]
    assert len(panels) >= 50
    for panel in panels:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            labels = re.findall(r"{{(\w+)}}", target["legendFormat"])
            assert target["legendFormat"].strip(), panel["title"]
            grouped = re.search(r"(?:by|on) \(([\w, ]+)\)", target["expr"])
            if grouped and "sum" in target["expr"]:
                assert set(labels) <= set(re.split(r", *", grouped[1])), target["expr"]


def busy_base(base: SmallBase) -> None:
    """Every kind of end, every state of a document, money, a budget that is spent."""
    base.fill(4)
    base.ask_about(list(SUBJECTS[:4]), **{"recall@1": 0.75, "min_queries": 3})
    base.settings["sources"][0]["silent_hours"] = 1e-6
    base.configure(costs={"budget_usd": 10.0}, canary={"share": 0.5, "version": "previous"})
    assert base.refresh()["promoted"]
    base.write("vacation.md", document("vacation") + "\nA new last line.\n")
    assert base.refresh()["promoted"]
    for subject in SUBJECTS[1:4]:
        base.write(f"{subject}.md", "# Nothing\n\nLorem ipsum dolor sit amet.\n")
    assert not base.refresh()["gate"]["passed"]
    ledger = Ledger(base.configure().storage)
    for day in range(1, 8):
        moment = time.strftime("%Y-%m-%d", time.gmtime(time.time() - day * 86_400))
        ledger.add(Entry(moment, "embedding", "openai/x", "docs", 10, 1000, 0, 1.0 + day, 5, 9, 2))
    ledger.add(Entry(now(), "answer", "openai/y", "key:1", 1, 50, 9, 60.0))


@pytest.mark.full
@needs_prometheus
def test_panels_and_alerts_on_a_real_prometheus(
    small: SmallBase,
    exporter: Callable[..., str],
    start: Start,
    receiver: Receiver,
    tmp_path: Path,
) -> None:
    busy_base(small)
    exported = urllib.parse.urlsplit(exporter(small.path)).netloc
    _, secret = KeyStore.at(small.configure().storage).create("prometheus", groups=[])
    service = start(*CLI, "serve", "--config", small.path, "--port", "0")
    assert service.stdout is not None
    address = until(lambda: re.search(r"http://(\S+)", service.stdout.readline()))[1]
    (tmp_path / "key").write_text(secret)

    def ask(number: int) -> None:
        for path, body in (
            ("search", {"query": f"who pays {number}?"}),
            ("answer", {"question": f"Who answers requests concerning {SUBJECTS[3]} {number}?"}),
            ("answer", {"question": "Who answers?", "version": 2}),
            ("answer", {"question": f"And {SUBJECTS[3]} {number}?", "stream": True}),
        ):
            request = urllib.request.Request(
                f"http://{address}/v1/{path}",
                json.dumps(body).encode(),
                {"Content-Type": "application/json", "Authorization": f"Bearer {secret}"},
            )
            with urllib.request.urlopen(request, timeout=60) as reply:
                reply.read()

    alerting = alertmanager(start, receiver, tmp_path)
    prometheus = prometheus_at(start, tmp_path, exported, address, alerting)

    def healthy() -> bool:
        targets = fetched(f"{prometheus}/api/v1/targets")["activeTargets"]
        return len(targets) == 2 and all(target["health"] == "up" for target in targets)

    until(healthy)
    for number in range(6):
        ask(number)
        time.sleep(1.1)

    empty = {}
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries:
                shown = query.replace("$__rate_interval", "1m").replace("$knowledge_base", ".*")
                try:
                    until(
                        lambda q=shown: fetched(f"{prometheus}/api/v1/query", query=q)["result"], 30
                    )
                except AssertionError:
                    empty[f"{dashboard.name}: {panel.title}"] = shown
    assert empty == {}

    def firing() -> set[str]:
        alerts = fetched(f"{prometheus}/api/v1/alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts}

    wanted = {"RAGBudgetSpent", "RAGBudgetForecast", "RAGRefreshRefused", "RAGSourceSilent"}
    until(lambda: wanted <= firing())
    said = until(lambda: [body for body in receiver.bodies if "RAGBudgetSpent" in str(body)])
    assert "the month's budget is spent" in str(said[0])
    evaluated = fetched(f"{prometheus}/api/v1/rules")["groups"]
    assert [r for group in evaluated for r in group["rules"] if r["health"] != "ok"] == []
