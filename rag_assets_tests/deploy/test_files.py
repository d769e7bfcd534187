"""The files of `deploy/`: what they name exists, and schemas hold. Nothing is built or applied."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import typer
import yaml

from rag_assets.cli import app as application
from rag_assets.cli import (  # noqa: F401
    inspect_commands,
    operations_commands,
    query_commands,
    refresh_commands,
    service_commands,
)
from rag_assets.config import load_config
from rag_assets.defs.execute import Refresher
from rag_assets.refresh.pipeline import Options
from rag_assets_tests.conftest import SmallBase
from rag_assets_tests.sources import postgres

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def documents(text: str) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all(text) if found]


def test_every_command_that_is_started_exists() -> None:
    commands = set(typer.main.get_command(application.app).commands)  # type: ignore[attr-defined]
    started: set[str] = set()
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix in {".yaml", ".service", ""}:
            text = path.read_text(encoding="utf-8")
            started |= set(re.findall(r"ExecStart=\S*rag-assets (\w+)", text))
            started |= set(re.findall(r"\[rag-assets, (\w+)", text))
            started |= set(re.findall(r'"rag-assets", "(\w+)"', text))
            started |= set(re.findall(r"'(?:\S*/)?rag-assets (\w+)", text))
    assert {"serve", "exporter", "refresh", "upkeep", "backup"} <= started <= commands


def test_the_image_copies_what_is_there_and_is_no_root() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY") and "--from=build" not in line:
            *sources, _ = [part for part in line.split()[1:] if not part.startswith("--")]
            for source in sources:
                assert (ROOT / source).exists(), line
    assert "USER 10001" in lines
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    assert "--require-hashes" in "\n".join(lines)


def test_the_compose_file_is_whole() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    for name, service in services.items():
        assert "image" in service, name
        for other in service.get("depends_on", {}):
            assert "healthcheck" in services[other], f"{name} waits for {other} to be healthy"
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), mount
            elif not source.startswith("."):
                assert source in compose["volumes"], mount
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is open to everybody: {port}"
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    targets = [
        target
        for job in (*prometheus["scrape_configs"], *prometheus["alerting"]["alertmanagers"])
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    assert {target.split(":")[0] for target in targets} <= set(services)
    assert not re.search(
        r"(PASSWORD|KEY|TOKEN): *[A-Za-z0-9]", (DEPLOY / "compose.yaml").read_text()
    )


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_takes_the_units() -> None:
    units = sorted(map(str, (DEPLOY / "systemd").iterdir()))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    said = [
        line
        for line in done.stderr.splitlines()
        if any(Path(unit).name in line for unit in units)
        and "is not executable" not in line  # the program is not installed here
    ]
    assert said == []


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kustomize_builds_what_kubernetes_knows() -> None:
    done = subprocess.run(["kubectl", "kustomize", str(KUBERNETES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = documents(done.stdout)
    assert {found["metadata"].get("namespace", found["kind"]) for found in built} == {
        "Namespace",
        "rag",
    }
    problems = [problem for found in built for problem in unknown_keys(found)]
    assert problems == []


def test_the_other_manifests_are_known_too() -> None:
    found = documents((KUBERNETES / "gpu-nodes.yaml").read_text())
    assert {item["kind"] for item in found} == {
        "NodePool",
        "EC2NodeClass",
        "Deployment",
        "Service",
    }
    problems = [
        p for item in found if "karpenter" not in item["apiVersion"] for p in unknown_keys(item)
    ]
    assert problems == []
    values = yaml.safe_load((KUBERNETES / "dagster-values.yaml").read_text())
    [deployment] = values["dagster-user-deployments"]["deployments"]
    assert deployment["codeServerArgs"] == ["-m", "rag_assets.definitions"]


def unknown_keys(manifest: dict[str, Any]) -> Iterator[str]:
    """Keys that the models of the Kubernetes client do not have."""
    from kubernetes import client

    version = manifest["apiVersion"].rpartition("/")[2]
    model = getattr(client, version[0].upper() + version[1:] + manifest["kind"])
    yield from _unknown(client, model, manifest, manifest["kind"])


def _unknown(client: Any, model: Any, value: dict[str, Any], where: str) -> Iterator[str]:
    types = {key: model.openapi_types[name] for name, key in model.attribute_map.items()}
    for key, inner in value.items():
        if key not in types:
            yield f"{where}.{key}"
            continue
        listed = re.fullmatch(r"list\[(\w+)\]", types[key])
        kind = getattr(client, listed[1] if listed else types[key], None)
        if kind is None or not hasattr(kind, "attribute_map"):
            continue
        for item in inner if listed else [inner]:
            yield from _unknown(client, kind, item, f"{where}.{key}")


def test_the_example_configuration_loads(tmp_path: Path) -> None:
    file = tmp_path / "knowledge_base.yaml"
    file.write_text((KUBERNETES / "knowledge_base.yaml").read_text())
    config = load_config(file)
    assert config.costs.budget_usd == 50
    assert not config.notify.active


@pytest.mark.full
@pytest.mark.skipif(not postgres.available(), reason="PostgreSQL is not installed")
def test_a_refresh_is_recorded_in_postgresql(
    small: SmallBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dagster_postgres")
    home = tmp_path / "home"
    home.mkdir()
    shutil.copyfile(DEPLOY / "dagster.yaml", home / "dagster.yaml")
    small.fill(2)
    config = small.configure()
    # Not below pytest's own folder, which every other session that starts closes to other users.
    with tempfile.TemporaryDirectory() as folder, postgres.serving(Path(folder) / "pg"):
        url = f"postgresql+psycopg2://app@/postgres?host={folder}/pg"
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)
        monkeypatch.setenv("DAGSTER_HOME", str(home))
        with dg.DagsterInstance.from_config(str(home)) as instance:
            receipt = Refresher(config, instance).refresh(Options())
            assert receipt["promoted"]
            run = instance.get_run_by_id(receipt["run_id"])
            assert run is not None
            assert run.status is dg.DagsterRunStatus.SUCCESS
            key = dg.AssetKey(["small", "live_index"])
            event = instance.get_latest_materialization_event(key)
            assert event is not None
            assert event.run_id == receipt["run_id"]
    assert not list(home.rglob("*.db")), "nothing went into SQLite"
