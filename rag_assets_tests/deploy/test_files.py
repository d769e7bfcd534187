"""The files of `deploy/`: what they name exists, and schemas hold. Nothing is built or applied."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

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
