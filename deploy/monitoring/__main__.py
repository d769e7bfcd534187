"""Write the rules and dashboards beside this folder: `python -m deploy.monitoring`."""

import json
import re
from pathlib import Path

import yaml

from deploy.monitoring.dashboards import DASHBOARDS, as_json
from deploy.monitoring.rules import RUNBOOK, rules
from deploy.monitoring.runbook import link

_HEAD = "# Written by `python -m deploy.monitoring` from deploy/monitoring/rules.py.\n"


def files() -> dict[Path, str]:
    """Every generated file with its content."""
    deploy = Path(__file__).resolve().parent.parent
    made = {
        deploy / "prometheus" / "rules.yml": _HEAD
        + yaml.safe_dump(rules(), width=96, sort_keys=False)
    }
    tests = deploy / "prometheus" / "rules_test.yml"
    made[tests] = _linked(tests.read_text(encoding="utf-8"))
    for dashboard in DASHBOARDS:
        path = deploy / "grafana" / "dashboards" / f"{dashboard.name}.json"
        made[path] = json.dumps(as_json(dashboard), indent=1, ensure_ascii=False) + "\n"
    return made


def _linked(tests: str) -> str:
    """The tests of the rules, written by hand, with the links that the rules have now."""
    lines, alert = [], ""
    for line in tests.splitlines(keepends=True):
        if named := re.search(r"alertname: (RAG\w+)", line):
            alert = named[1]
        key, found, _ = line.partition("runbook_url: ")
        lines.append(f"{key}{found}{link(RUNBOOK, alert)}\n" if found else line)
    return "".join(lines)


if __name__ == "__main__":
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(path)
