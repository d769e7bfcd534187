"""The systems compared, and how one refresh of a system is run in a process of its own."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ENVIRONMENT = {
    "ANONYMIZED_TELEMETRY": "False",
    "COCOINDEX_DISABLE_USAGE_TRACKING": "1",
    "DAGSTER_DISABLE_TELEMETRY": "1",
}
_UNWANTED = {"DAGSTER_HOME", "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class System:
    """One column of the tables."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    peer: bool = True


SYSTEMS = {
    "core": System("rag_assets, stages alone", "ours", ("--stages-alone",), peer=False),
    "dagster": System("rag_assets with Dagster", "ours", peer=False),
    "cocoindex": System("CocoIndex 1.0", "peer_cocoindex"),
    "langchain": System("LangChain index() + cache", "peer_langchain"),
    "llamaindex": System("LlamaIndex pipeline", "peer_llamaindex"),
}


@dataclass(frozen=True)
class Task:
    """One refresh: where the state and the corpus are, and how it shall be done."""

    state: Path
    documents: Path
    size: int = 1
    model: str = "m1"


class Runner:
    """Starts refreshes. `peers`: the interpreter that has the peers installed."""

    def __init__(self, peers: Path, work: Path) -> None:
        self._peers = peers
        self._logs = work / "logs"
        # Bytecode is kept, whatever the shell says: compiling a second of imports anew in every
        # process would drown what is measured.
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in _UNWANTED},
            **_ENVIRONMENT,
            "PYTHONPYCACHEPREFIX": str(work / "bytecode"),
        }

    def start(self, key: str, task: Task, **environment: str) -> subprocess.Popen[str]:
        """A refresh in a process group of its own; what it logs goes to a file."""
        system = SYSTEMS[key]
        command = [
            str(self._peers) if system.peer else sys.executable,
            "-m",
            f"benchmarks.incremental.{system.module}",
            str(task.state),
            str(task.documents),
            f"--size={task.size}",
            f"--model={task.model}",
            *system.arguments,
        ]
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / f"{key}.log").open("a") as log:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env={**self._environment, **environment},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def run(self, key: str, task: Task, **environment: str) -> dict[str, float]:
        """What one refresh reports, with the seconds of its whole process and its state's size."""
        started = time.perf_counter()
        process = self.start(key, task, **environment)
        out, _ = process.communicate()
        whole = time.perf_counter() - started
        if process.returncode:
            raise SystemExit(
                f"{SYSTEMS[key].name}: a refresh of {task.documents} failed; see"
                f" {self._logs / key}.log"
            )
        found = json.loads(out.splitlines()[-1])
        return {**found, "process": round(whole, 3), "state_mb": megabytes(task.state)}


def megabytes(directory: Path) -> float:
    """What a directory takes on the disk."""
    files = (Path(folder) / name for folder, _, names in os.walk(directory) for name in names)
    return round(sum(file.stat().st_blocks * 512 for file in files) / 1e6, 1)
