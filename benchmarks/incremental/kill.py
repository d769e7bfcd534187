"""SIGKILL in the middle of a cold run, then a second run: how many texts are paid for twice."""

import os
import shutil
import signal
import time
from pathlib import Path

from benchmarks.incremental.results import Results
from benchmarks.incremental.steps import WRONG
from benchmarks.incremental.systems import Runner, Task

COST_MS = 10
_LINE = 65  # bytes of the log a text
_LATER = 0.37  # seconds by which each repeat kills later, so as not to meet one phase of a batch


def run_kill(
    runner: Runner, results: Results, work: Path, corpus: Path, key: str, repeat: int
) -> None:
    """Kill one system when half of the texts are embedded, and let it finish."""
    size = len(list(corpus.glob("*.txt")))
    where = {"part": "kill", "documents": size, "system": key, "repeat": repeat}
    if results.has(**where):
        return
    state, log = work / "state", work / "embedded.log"
    shutil.rmtree(state, ignore_errors=True)
    log.unlink(missing_ok=True)
    log.touch()
    environment = {"EMBED_COST_MS": str(COST_MS), "EMBED_LOG": str(log)}
    task = Task(state, corpus)
    process = runner.start(key, task, **environment)
    half = 8 * size // 2
    while log.stat().st_size < half * _LINE and process.poll() is None:
        time.sleep(0.01)
    time.sleep(repeat * _LATER)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = log.read_text().split()
    found = runner.run(key, task, **environment)
    paid = log.read_text().split()
    results.add(**where, before=len(before), twice=len(paid) - len(set(paid)), **found)
    wrong = {name: found[name] for name in WRONG if found[name]}
    print(f"kill {key} #{repeat}: {len(before)} before, {len(paid) - len(set(paid))} twice {wrong}")
    shutil.rmtree(state)
