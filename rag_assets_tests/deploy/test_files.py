"""The files of `deploy/`: what they name exists, and schemas hold. Nothing is built or applied."""

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import image_steps
from deploy.image_steps import stages
from rag_assets.cli import operations_commands, service_commands
from rag_assets.service import server
from rag_assets_tests.deploy.composed import services
from rag_assets_tests.deploy.programs import free_port

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def test_the_image_copies_what_is_there_and_is_no_root() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    for stage in stages():
        for argument in stage.all("COPY"):
            *sources, _ = [part for part in argument.split() if not part.startswith("--")]
            if "--from=" not in argument:
                assert all((ROOT / source).exists() for source in sources), argument
                assert set(sources) <= kept, f".dockerignore keeps {argument} from the image"
        steps = [name for name, _ in stage.steps]
        if stage.name != "build":
            assert stage.all("USER") == ["10001"]
            assert steps.index("USER") > max(i for i, name in enumerate(steps) if name == "RUN")
            assert stage.all("HEALTHCHECK")
            assert stage.all("CMD")
    [build] = [stage for stage in stages() if stage.name == "build"]
    assert any("--require-hashes" in step for step in build.all("RUN"))


@pytest.mark.full
def test_the_last_stages_command_becomes_healthy_in_a_clean_directory(tmp_path: Path) -> None:
    """As `make image-steps`, but for the packages: this environment's are linked in their place."""
    root = tmp_path / "root"
    (root / "opt" / "rag").mkdir(parents=True)
    (root / "opt" / "rag" / "bin").symlink_to(Path(sys.executable).parent)
    last = stages()[-1]
    image_steps.build(last, root)
    assert {file.name for file in (root / "opt" / "dagster").iterdir()} == {
        "dagster.yaml",
        "workspace.yaml",
    }
    port = str(free_port())  # 8080 may be taken here
    for place, (name, argument) in enumerate(last.steps):
        more = f', "--port", "{port}"]' if name == "CMD" else "]"
        last.steps[place] = (name, argument.replace("8080", port).replace("]", more))
    source = f"{{name: docs, type: files, path: {ROOT / 'examples' / 'handbook'}}}"
    text = f"name: steps\nstorage: {root}/data/store\nsources: [{source}]\n"
    image_steps.check(last, root, text)


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


def test_what_is_stopped_has_the_time_to_drain_and_ports_are_those_of_the_commands() -> None:
    unit = (DEPLOY / "systemd" / "rag-service.service").read_text()
    waits = [re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0]]
    waits.append(services()["service"]["stop_grace_period"].removesuffix("s"))
    assert all(int(seconds) > server._DRAIN_SECONDS for seconds in waits)
    exposed = stages()[-1].all("EXPOSE")[0].split()
    for name, command in (
        ("service", service_commands.serve),
        ("exporter", operations_commands.exporter),
    ):
        default = str(inspect.signature(command).parameters["port"].default)
        assert default in exposed
        words = services()[name]["command"]
        assert words[words.index("--port") + 1] == default
        text = (DEPLOY / "kubernetes" / "base" / f"{name}.yaml").read_text()
        assert f"containerPort: {default}" in text
        assert f"targets: [{name}:{default}]" in (DEPLOY / "prometheus/prometheus.yml").read_text()


def test_every_role_has_the_same_heaps() -> None:
    wanted = "MALLOC_ARENA_MAX=2"
    assert any(wanted in step for step in stages()[-1].all("ENV"))
    for unit in (DEPLOY / "systemd").glob("*.service"):
        assert wanted in unit.read_text(), unit.name
