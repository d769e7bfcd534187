"""Write the rules and dashboards beside this folder: `python -m deploy.monitoring`."""

import json
from pathlib import Path

import yaml

from deploy.monitoring.dashboards import DASHBOARDS, as_json
from deploy.monitoring.rules import rules

_HEAD = "# Written by `python -m deploy.monitoring` from deploy/monitoring/rules.py.\n"


def files() -> dict[Path, str]:
    """Every generated file with its content."""
    deploy = Path(__file__).resolve().parent.parent
    made = {
        deploy / "prometheus" / "rules.yml": _HEAD
        + yaml.safe_dump(rules(), width=96, sort_keys=False)
    }
    for dashboard in DASHBOARDS:
        path = deploy / "grafana" / "dashboards" / f"{dashboard.name}.json"
        made[path] = json.dumps(as_json(dashboard), indent=1, ensure_ascii=False) + "\n"
    return made


if __name__ == "__main__":
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(path)
