"""Prometheus and Alertmanager, started for a test with what the project ships."""

import json
import re
import shutil
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rag_assets_tests.notify.conftest import Receiver
from rag_assets_tests.operations.conftest import Start

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
needs_prometheus = pytest.mark.skipif(
    not (shutil.which("promtool") and shutil.which("amtool")),
    reason="Prometheus and Alertmanager are not installed",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: Callable[[], Any], seconds: float = 60) -> Any:
    """The first truthy value of `what`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := what():
                return found
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.2)
    raise AssertionError(f"nothing after {seconds} s")


def fetched(url: str, **parameters: str) -> Any:
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{url}?{query}", timeout=30) as reply:
        return json.load(reply)["data"]


def alertmanager(start: Start, receiver: Receiver, folder: Path) -> str:
    """A real one with the shipped configuration, sending to the local receiver; its address."""
    config = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())
    config["global"] = {"slack_api_url": f"{receiver.url}/slack"}
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "2s"}
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    start(
        "prometheus-alertmanager",
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alerts'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    )
    return address


def prometheus_at(
    start: Start, folder: Path, exported: str, service: str, alerting: str, **more: str
) -> str:
    """A real one with the shipped configuration and quick intervals; its address.

    more: other jobs to scrape, by name with `_` for `-`.
    """
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    # Averages over time are taken of every second here, as there are not minutes enough.
    text = (DEPLOY / "prometheus" / "rules.yml").read_text()
    shipped = yaml.safe_load(re.sub(r":[15]m\]", ":1s]", text))
    for group in shipped["groups"]:
        group.pop("interval", None)
        for rule in group["rules"] if more else ():
            rule.pop("for", None)
    (folder / "rules.yml").write_text(yaml.safe_dump(shipped))
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [alerting]}]
    for scraped, target in zip(config["scrape_configs"], (exported, service), strict=True):
        scraped["static_configs"] = [{"targets": [target]}]
        if "authorization" in scraped:
            scraped["authorization"]["credentials_file"] = str(folder / "key")
    config["scrape_configs"] += [
        {"job_name": name.replace("_", "-"), "static_configs": [{"targets": [target]}]}
        for name, target in more.items()
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    url = f"127.0.0.1:{free_port()}"
    start(
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address={url}",
    )
    return f"http://{url}"
