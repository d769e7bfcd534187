"""The services of compose.yaml as processes of this machine: same commands, same configuration.

Host names become ports of 127.0.0.1, paths of containers become folders below one directory.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rag_assets_tests.deploy.programs import DEPLOY, free_port

ROOT = DEPLOY.parent
PORTS = {
    "postgres": 5432,
    "chroma": 8000,
    "mlflow": 5000,
    "code": 4000,
    "webserver": 3000,
    "service": 8080,
    "exporter": 9464,
    "prometheus": 9090,
    "alertmanager": 9093,
    "grafana": 3000,
}
_IMAGE_PATHS = {"/opt/dagster": "opt-dagster", "/run/secrets": "secrets"}


def services() -> dict[str, dict[str, Any]]:
    """The services of compose.yaml, anchors resolved."""
    found = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return dict(found)


def image_environment(target: str | None = None) -> dict[str, str]:
    """What a stage of the Dockerfile, by default the last, sets; without PATH and HOME."""
    stages = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").split("\nFROM ")
    [stage] = [s for s in stages if s.partition("\n")[0].endswith(f" AS {target}")] or stages[-1:]
    block = re.search(r"^ENV ((?:.*\\\n)*.*)$", stage, re.MULTILINE)
    assert block is not None
    pairs = dict(part.split("=", 1) for part in block[1].replace("\\\n", " ").split())
    return {name: value for name, value in pairs.items() if name not in {"PATH", "HOME"}}


class Composed:
    """The services below one directory; `values` are what deploy/.env would set."""

    def __init__(self, directory: Path, values: Mapping[str, str]) -> None:
        self.directory = directory
        self.services = services()
        self.ports = {name: free_port() for name in PORTS}
        self._values = values
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("volumes", "binds", "secrets", "opt-dagster"):
            (directory / name).mkdir(parents=True)
        for name in ("dagster.yaml", "workspace.yaml"):
            text = self.local("code", (DEPLOY / name).read_text(encoding="utf-8"))
            text = text.replace("host: code", "host: 127.0.0.1")
            text = text.replace("port: 4000", f"port: {self.ports['code']}")
            (directory / "opt-dagster" / name).write_text(text, encoding="utf-8")

    def address(self, service: str) -> str:
        """host:port of a service here."""
        return f"127.0.0.1:{self.ports[service]}"

    def path(self, service: str, inside: str) -> Path:
        """Where a path of a service's container lies here."""
        return Path(self._paths(service, inside))

    def environment(self, service: str) -> dict[str, str]:
        """The variables of a service's process."""
        # What this machine's shell sets must not stand in for what the files forgot to set.
        kept = ("PATH", "PYTHONPATH", "LANG", "HOME")
        found = {name: os.environ[name] for name in kept if name in os.environ}
        found["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{found['PATH']}"
        definition = self.services[service]
        image = (
            image_environment(definition["build"].get("target")) if "build" in definition else {}
        )
        wanted = {**image, **(definition.get("environment") or {})}
        for name, value in wanted.items():
            found[name] = self.local(service, self._expanded(str(value)))
        return found

    def start(self, service: str) -> None:
        """Start a service with its own command."""
        for target in self._mounts(service):
            self.path(service, target).mkdir(parents=True, exist_ok=True)
        log = (self.directory / f"{service}.log").open("wb")
        # The image of Prometheus names its program; Debian calls Alertmanager's differently.
        program = {
            "prometheus": ["prometheus"],
            "alertmanager": ["prometheus-alertmanager"],
        }.get(service, [])
        command = [self.local(service, part) for part in self.services[service]["command"]]
        folder = self.directory / "work" / service
        folder.mkdir(parents=True)
        self._running[service] = subprocess.Popen(
            [*program, *command],
            env=self.environment(service),
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )

    def healthy(self, service: str, seconds: float = 180) -> None:
        """Wait until the service's own health check passes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            process = self._running.get(service)
            if process is not None and process.poll() is not None:
                break
            if self.check(service):
                return
            time.sleep(0.3)
        log = (self.directory / f"{service}.log").read_text(errors="replace")
        raise AssertionError(f"{service} is not healthy: {log[-3000:]}")

    def check(self, service: str) -> bool:
        """Whether the service's health check passes once."""
        probe = [
            self.local(service, part) for part in self.services[service]["healthcheck"]["test"]
        ]
        assert probe[0] == "CMD"
        if probe[1] == "wget" and not shutil.which("wget"):
            probe = [
                "CMD",
                "python3",
                "-c",
                f"import urllib.request as u; u.urlopen({probe[-1]!r})",
            ]
        done = subprocess.run(probe[1:], env=self.environment(service), capture_output=True)
        return done.returncode == 0

    def run(self, service: str, *command: str) -> str:
        """The output of another command in a service's place."""
        done = subprocess.run(
            command,
            env=self.environment(service),
            capture_output=True,
            text=True,
            cwd=self.directory,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        """End every service that was started, the newest first."""
        for process in reversed(self._running.values()):
            process.terminate()
        for process in reversed(self._running.values()):
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def bind(self, service: str, target: str, source: Path) -> None:
        """Put a copy of a mounted folder in place, its configuration rewritten for this machine."""
        place = self.path(service, target)
        shutil.copytree(source, place, dirs_exist_ok=True)
        for file in place.rglob("*"):
            if file.suffix in {".yaml", ".yml"}:
                file.write_text(self.local(service, file.read_text(encoding="utf-8")), "utf-8")

    def local(self, service: str, text: str) -> str:
        """Hosts, ports and paths of a service's container as they are here."""
        own = self.ports.get(service)
        if own is not None:
            if text == str(PORTS[service]):
                return str(own)
            text = re.sub(
                rf"\b(0\.0\.0\.0|127\.0\.0\.1):{PORTS[service]}\b", f"127.0.0.1:{own}", text
            )
            text = text.replace(f"--port={PORTS[service]}", f"--port={own}")
        for name, port in PORTS.items():
            text = re.sub(rf"(?<![\w.-]){name}:{port}\b", self.address(name), text)
        return self._paths(service, text.replace("0.0.0.0", "127.0.0.1"))

    def _paths(self, service: str, text: str) -> str:
        places = {target: f"volumes/{name}" for target, name in self._mounts(service).items()}
        for inside, outside in {**_IMAGE_PATHS, **places}.items():
            place = str(self.directory / outside)
            text = re.sub(rf"(?<![\w.-]){inside}(?=$|[/\"'\s,}}\]])", place, text)
        return text

    def _mounts(self, service: str) -> dict[str, str]:
        """Path in the container → a folder's name: of the volume, or of what is bound there."""
        found = {}
        for mount in self.services.get(service, {}).get("volumes", []):
            source, target = re.fullmatch(r"(\$\{[^}]*\}|[^:]+):([^:]+)(?::ro)?", mount).groups()  # type: ignore[union-attr]
            named = re.fullmatch(r"[a-z]+", source)
            found[target] = source if named else f"bound{target.replace('/', '-')}"
        return found

    def _expanded(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            return self._values.get(match[1]) or match[2] or ""

        return re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", value, text)


@contextmanager
def composed(directory: Path, values: Mapping[str, str]) -> Iterator[Composed]:
    """The services, ended afterwards."""
    found = Composed(directory, values)
    try:
        yield found
    finally:
        found.stop()


def order(found: Mapping[str, Mapping[str, Any]], wanted: Sequence[str]) -> list[str]:
    """The wanted services, each after those that it waits for."""
    ordered: list[str] = []

    def add(name: str) -> None:
        if name in ordered:
            return
        for other in found[name].get("depends_on", {}):
            add(other)
        if name in wanted:
            ordered.append(name)

    for name in wanted:
        add(name)
    return ordered
