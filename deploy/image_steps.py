"""The Dockerfile's own steps as a script in a clean directory, for machines without a builder.

`python -m deploy.image_steps DIR` runs the stages of the image in order below DIR, which stands for
the root of their file systems, and then waits until the image's health check passes on its command.
Packages come from the index that pip is set up with. What only a builder can do is left out: other
users, the base image, `--target`.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from json import loads
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_INSIDE = re.compile(r"(?<![\w./$}-])/(opt|src|data|config|mlflow)(?=[/\s\"':]|$)")
# Other users are a builder's business.
_SKIPPED = """
useradd() { :; }
install() { command install $(echo "$@" | sed 's/-[og] rag//g'); }
"""


@dataclass
class Stage:
    """One FROM of the Dockerfile with what follows it."""

    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        """The arguments of every such instruction."""
        return [argument for name, argument in self.steps if name == instruction]


def stages(dockerfile: Path = ROOT / "deploy" / "Dockerfile") -> list[Stage]:
    """The stages of a Dockerfile, continuation lines joined."""
    found: list[Stage] = []
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, _, argument = line.strip().partition(" ")
        if instruction == "FROM":
            found.append(Stage(argument.partition(" AS ")[2]))
        elif instruction and found:
            found[-1].steps.append((instruction, argument.strip()))
    return found


def environment(stage: Stage, root: Path) -> dict[str, str]:
    """The variables of a stage, with its paths below `root`."""
    found = dict(os.environ)
    for argument in (*stage.all("ARG"), *stage.all("ENV")):
        for name, quoted, plain in re.findall(r"(\w+)=(?:\"([^\"]*)\"|(\S*))", argument):
            value = _INSIDE.sub(rf"{root}/\1", quoted or plain)
            found[name] = value.replace("$PATH", found["PATH"])
    found["HOME"] = str(root / "tmp")
    return found


def build(stage: Stage, root: Path) -> None:
    """Run the COPY and RUN steps of a stage below `root`."""
    values = environment(stage, root)
    folder = root
    (root / "tmp").mkdir(parents=True, exist_ok=True)
    for instruction, argument in stage.steps:
        if instruction == "WORKDIR":
            folder = root / argument.lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY" and "--from=" not in argument:
            *sources, target = [part for part in argument.split() if not part.startswith("--")]
            place = root / target.lstrip("/") if target.startswith("/") else folder / target
            for source in sources:
                _copy(ROOT / source, place, target.endswith("/") or len(sources) > 1)
        elif instruction == "RUN":
            script = _SKIPPED + _INSIDE.sub(rf"{root}/\1", argument)
            subprocess.run(["bash", "-ec", script], cwd=folder, env=values, check=True)


def _copy(source: Path, place: Path, into: bool) -> None:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, place, ignore=ignored, dirs_exist_ok=True)
        return
    target = place / source.name if into else place
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def check(stage: Stage, root: Path, configuration: str, seconds: float = 120) -> None:
    """Start the command of a stage and wait until its health check passes.

    Raises: SystemExit when it ends or does not become healthy.
    """
    (root / "config" / "knowledge_base.yaml").write_text(configuration, encoding="utf-8")
    values = environment(stage, root)
    keys = ["rag-assets", "keys", "create", "steps"]
    subprocess.run(keys, env=values, check=True, stdout=subprocess.DEVNULL, cwd=root / "data")
    probe = stage.all("HEALTHCHECK")[-1].partition(" CMD ")[2]
    started = subprocess.Popen(loads(stage.all("CMD")[-1]), env=values, cwd=root / "data")
    try:
        end = time.monotonic() + seconds
        while subprocess.run(probe, shell=True, env=values, stderr=subprocess.DEVNULL).returncode:
            if started.poll() is not None or time.monotonic() > end:
                raise SystemExit("the image's command did not become healthy")
            time.sleep(1)
    finally:
        started.terminate()
        started.wait()


def main() -> None:
    """Build and check below the directory that was named."""
    root = Path(sys.argv[1]).resolve()
    root.mkdir(parents=True)
    first, *_, last = stages()
    for stage in (first, last):
        build(stage, root)
    size = sum(f.stat().st_size for f in (root / "opt").rglob("*") if not f.is_symlink())
    documents = ROOT / "examples" / "handbook"
    source = f"{{name: docs, type: files, path: {documents}}}"
    check(last, root, f"name: steps\nstorage: {root}/data/store\nsources: [{source}]\n")
    print(f"The image's command is healthy; /opt takes {size / 1e6:.0f} MB.")


if __name__ == "__main__":
    main()
