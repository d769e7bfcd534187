"""compose.yaml: its schema, what its parts say of each other, and all of it running together."""

import json
import os
import re
import shutil
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import dagster as dg
import jsonschema
import pytest
import yaml

from rag_assets.config import load_config
from rag_assets.refresh.receipt import Receipts, compose
from rag_assets_tests.deploy.composed import (
    DEPLOY,
    PORTS,
    ROOT,
    Composed,
    composed,
    order,
    services,
)
from rag_assets_tests.deploy.programs import until
from rag_assets_tests.sources import postgres

COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
_LOCAL = {"localhost", "127.0.0.1"}


def test_the_file_obeys_the_compose_specification() -> None:
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    validator = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
    assert [f"{list(e.path)}: {e.message}" for e in validator.iter_errors(COMPOSE)] == []


def test_every_service_is_confined_watched_and_pinned() -> None:
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["restart"] == "unless-stopped", name
        assert {"mem_limit", "cpus", "pids_limit", "healthcheck", "networks"} <= set(service), name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert re.search(r":[^:]*\d", service["image"]), f"{name}: {service['image']} moves"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is open to everybody: {port}"
            assert "published" in service["networks"], f"{name} is published and cannot be reached"


def test_what_is_named_is_there() -> None:
    for name, service in services().items():
        for other, wanted in service.get("depends_on", {}).items():
            assert other in services(), f"{name} waits for {other}"
            assert wanted["condition"] in {"service_healthy", "service_started"}
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
        for mount in service.get("volumes", []):
            source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", mount).split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), mount
            else:
                assert source in COMPOSE["volumes"], mount
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {"deploy/.env", "deploy/secrets/"} <= set(ignored)
    assert all(s["file"].startswith("./secrets/") for s in COMPOSE["secrets"].values())


def test_whoever_is_spoken_to_shares_a_network() -> None:
    """Every host:port in commands, variables and mounted configuration, read from the files."""
    found = services()
    edges = {(name, host) for name in found for host in _hosts(_said(name))}
    edges |= {(name, "code") for name in ("webserver", "daemon")}  # workspace.yaml, in the image
    spoken_to = {host for _, host in edges}
    assert {
        "postgres",
        "chroma",
        "mlflow",
        "code",
        "exporter",
        "service",
        "prometheus",
    } <= spoken_to
    for name, host in edges - {("exporter", "chroma")}:  # it reads manifests, never vectors
        shared = set(found[name]["networks"]) & set(found[host]["networks"])
        assert shared, f"{name} speaks to {host} and shares no network with it"
    inside = {name for name, network in COMPOSE["networks"].items() if network.get("internal")}
    for name in ("postgres", "chroma", "daemon", "exporter"):
        assert set(found[name]["networks"]) <= inside, f"{name} can reach the internet"
    with_vectors = {name for name in found if "vectors" in found[name]["networks"]}
    assert with_vectors == {"chroma", "code", "service"}, "Chroma asks nobody for a password"


def _said(name: str) -> str:
    service = services()[name]
    texts = [str(service.get("command", "")), str(service.get("environment", ""))]
    for mount in service.get("volumes", []):
        if mount.startswith("./"):
            folder = DEPLOY / mount.split(":")[0]
            texts += [f.read_text("utf-8") for f in folder.rglob("*.y*ml") if "_test" not in f.name]
    return "\n".join(texts).replace("--allowed-hosts=mlflow:5000", "")


def _hosts(text: str) -> set[str]:
    found = set(re.findall(r"(?<![\w.-])([a-z]+):(\d{4,5})\b", text))
    ours = {host for host, port in found if PORTS.get(host) == int(port)}
    unknown = {host for host, _ in found} - set(PORTS) - _LOCAL
    assert not unknown, f"no service is called {unknown}"
    return ours


def test_the_served_knowledge_base_loads(tmp_path: Path) -> None:
    running = Composed(tmp_path / "compose", {})
    _fill(running)
    config = load_config(running.path("code", "/config") / "knowledge_base.yaml")
    assert config.index.chroma == f"http://{running.address('chroma')}"
    assert config.evaluation.mlflow


@pytest.fixture(scope="module")
def platform() -> Iterator[Composed]:
    """Everything but Grafana, running on one PostgreSQL, with a key that may read metrics."""
    # Not below pytest's own folder, which PostgreSQL's account cannot enter.
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        directory.chmod(0o755)
        with composed(directory / "compose", {"POSTGRES_PASSWORD": "not-asked-for"}) as running:
            port = running.ports["postgres"]
            options = f"-c listen_addresses=127.0.0.1 -c port={port}"
            with postgres.serving(directory / "pg", options):
                _create_database(port)
                _fill(running)
                key = running.run("service", "rag-assets", "keys", "create", "prometheus")
                (running.directory / "secrets" / "rag_metrics_key").write_text(key)
                _start(running)
                yield running
                running.stop()


def _create_database(port: int) -> None:
    import pg8000.native

    with pg8000.native.Connection("app", "127.0.0.1", "postgres", port) as connection:
        connection.run("CREATE ROLE dagster LOGIN")
        connection.run("CREATE DATABASE dagster OWNER dagster")


def _fill(running: Composed) -> None:
    for name in ("code", "service"):
        running.bind(name, "/documents", ROOT / "examples" / "handbook")
        running.bind(name, "/eval_sets", ROOT / "eval_sets")
        running.bind(name, "/config", DEPLOY / "config")
    running.bind("prometheus", "/etc/prometheus", DEPLOY / "prometheus")
    running.bind("alertmanager", "/etc/alertmanager", DEPLOY / "alertmanager")
    secrets = running.directory / "secrets"
    (secrets / "slack_webhook").write_text("http://127.0.0.1:9/nobody", encoding="utf-8")
    running.path("service", "/data").mkdir(parents=True)


def _start(running: Composed) -> None:
    started = [name for name in running.services if name not in {"postgres", "grafana"}]
    slow = {"mlflow", "daemon", "service"}  # they may start while others do
    for name in order(running.services, sorted(started, key=lambda name: name != "mlflow")):
        running.start(name)
        if name not in slow:
            running.healthy(name)
    for name in slow:
        running.healthy(name)


def asked(url: str, body: Mapping[str, Any] | None = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


@pytest.fixture(scope="module")
def instance(platform: Composed) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of deploy/dagster.yaml, in that PostgreSQL."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in platform.environment("daemon").items():
            if name.startswith("DAGSTER"):
                patched.setenv(name, value)
        with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as found:
            yield found


needs_programs = pytest.mark.skipif(
    not (postgres.available() and shutil.which("prometheus-alertmanager")),
    reason="PostgreSQL or Prometheus is not installed",
)


@pytest.mark.full
@needs_programs
@pytest.mark.timeout(600)
def test_the_daemons_sensor_refreshes_and_postgresql_has_the_evidence(
    platform: Composed, instance: dg.DagsterInstance
) -> None:
    first = _refreshed(instance, 1)
    assert first.tags["dagster/sensor_name"] == "handbook_source_changes"
    checks = _checks(instance, first.run_id)
    assert {"completeness", "index_integrity", "retrieval_quality", "no_regression"} <= set(checks)
    assert all(checks.values())
    event = instance.get_latest_materialization_event(dg.AssetKey(["handbook", "live_index"]))
    assert event is not None
    assert event.run_id == first.run_id

    page = platform.path("code", "/documents") / "hr" / "deployed.md"
    page.write_text("# Deployed\n\nThe platform runs with fourteen zebras.\n", encoding="utf-8")
    second = _refreshed(instance, 2)
    assert all(_checks(instance, second.run_id).values())
    store = platform.path("code", "/data") / "store"
    receipt = compose(second.run_id, Receipts(store).parts(second.run_id), None)
    assert receipt["documents"]["added"] == 1
    assert receipt["embeddings"]["computed"] == receipt["chunks"]["added"] <= 2
    home = platform.directory / "opt-dagster"
    assert {path.name for path in home.iterdir()} == {"dagster.yaml", "workspace.yaml"}


def _refreshed(instance: dg.DagsterInstance, count: int) -> dg.DagsterRun:
    wanted = dg.RunsFilter(job_name="handbook_refresh")

    def ended() -> list[dg.DagsterRun]:
        runs = [run for run in instance.get_runs(wanted) if run.is_finished]
        return runs if len(runs) >= count else []

    newest: dg.DagsterRun = until(ended, 180)[0]
    assert newest.status is dg.DagsterRunStatus.SUCCESS
    return newest


def _checks(instance: dg.DagsterInstance, run_id: str) -> dict[str, bool]:
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    found = [
        record.event_log_entry.dagster_event.asset_check_evaluation_data
        for record in instance.get_records_for_run(run_id, of_type=kind).records
        if record.event_log_entry.dagster_event
    ]
    return {evaluation.check_name: evaluation.passed for evaluation in found}


@pytest.mark.full
@needs_programs
@pytest.mark.timeout(600)
def test_the_other_services_know_what_the_refresh_did(platform: Composed) -> None:
    key = (platform.directory / "secrets" / "rag_metrics_key").read_text().strip()

    def answer() -> Any:
        url = f"http://{platform.address('service')}/v1/answer"
        question = {"question": "How many zebras does the platform run with?"}
        found = asked(url, question, Authorization=f"Bearer {key}")
        return found if found["index_version"] >= 2 else None

    said = until(answer, 180)
    assert "zebras" in said["text"]
    assert said["citations"][0]["doc_id"] == "docs/hr/deployed.md"

    chroma = f"http://{platform.address('chroma')}/api/v2/tenants/default_tenant/databases"
    collections = asked(f"{chroma}/default_database/collections")
    versions = {re.match(r"handbook-v\d{6}", c["name"])[0] for c in collections}  # type: ignore[index]
    assert {"handbook-v000001", "handbook-v000002"} <= versions

    mlflow = f"http://{platform.address('mlflow')}/api/2.0/mlflow"
    experiment = asked(f"{mlflow}/experiments/get-by-name?experiment_name=handbook")
    wanted = {"experiment_ids": [experiment["experiment"]["experiment_id"]]}
    runs = asked(f"{mlflow}/runs/search", wanted)["runs"]
    assert {run["info"]["run_name"] for run in runs} >= {"handbook v1", "handbook v2"}

    graphql = f"http://{platform.address('webserver')}/graphql"
    query = "{ runsOrError { ... on Runs { results { jobName status } } } }"
    shown = asked(graphql, {"query": query})["data"]["runsOrError"]["results"]
    assert {"jobName": "handbook_refresh", "status": "SUCCESS"} in shown

    prometheus = f"http://{platform.address('prometheus')}/api/v1"

    def live() -> Any:
        result = asked(f"{prometheus}/query?query=rag_index_version")["data"]["result"]
        return result if result and float(result[0]["value"][1]) >= 2 else None

    until(live, 180)
    targets = asked(f"{prometheus}/targets")["data"]["activeTargets"]
    assert {target["labels"]["job"]: target["health"] for target in targets} == {
        "rag-exporter": "up",
        "rag-service": "up",
    }
    managers = asked(f"{prometheus}/alertmanagers")["data"]["activeAlertmanagers"]
    assert [urllib.parse.urlsplit(m["url"]).netloc for m in managers] == [
        platform.address("alertmanager")
    ]


@pytest.mark.full
@needs_programs
def test_every_health_check_passes_while_it_runs(platform: Composed) -> None:
    running = set(platform.services) - {"postgres", "grafana"}
    assert {name for name in running if not platform.check(name)} == set()
