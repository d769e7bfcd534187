"""Programs started for a test and ended with it, and what is read from them."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

CLI = [sys.executable, "-c", "from rag_assets.cli import main; main()"]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start programs; they are ended with the test."""
    running: list[subprocess.Popen[str]] = []

    def begin(*command: object, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.terminate()
    for process in running:
        process.wait(timeout=30)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def exporter(start: Start) -> Callable[..., str]:
    """Start `rag-assets exporter` on configuration files; the address of its metrics."""

    def begin(path: Path, *also: Path) -> str:
        more = [part for other in also for part in ("--also", other)]
        command = [*CLI, "exporter", "--config", path, *more]
        process = start(*command, "--port", "0")
        assert process.stdout is not None
        said = []
        for line in process.stdout:  # warnings may come first; it ends when the process ends
            if line.startswith("Exporting "):
                return line.split()[-1]
            said.append(line)
        raise AssertionError("".join(said))

    return begin


def scraped(url: str, knowledge_base: str = "small") -> dict[str, float]:
    """`samples` of an address."""
    with urllib.request.urlopen(url, timeout=30) as reply:
        return samples(reply.read().decode(), knowledge_base)


def samples(text: str, knowledge_base: str = "small") -> dict[str, float]:
    """Every sample of one knowledge base as `name{a=b,…}` → value, without its own label."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            if labels.pop("knowledge_base", knowledge_base) == knowledge_base:
                shown = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
                found[f"{sample.name}{{{shown}}}" if shown else sample.name] = sample.value
    return found
