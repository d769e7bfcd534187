"""The built wheel carries everything that works outside the repository."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_code_scaffold_and_data_but_no_tests(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry = next(n for n in names if n.endswith("entry_points.txt"))
        assert b"rag-assets = rag_assets.cli:main" in archive.read(entry)
        licence = next(n for n in names if n.endswith("dist-info/licenses/LICENSE"))
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    tracked = subprocess.run(
        ["git", "ls-files", "rag_assets"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert {n for n in tracked if (ROOT / n).is_file()} <= names
    assert {"rag_assets/scaffold/knowledge_base.yaml", "rag_assets/py.typed"} <= names
    assert not any(
        name.startswith(("rag_assets_tests", "examples", "benchmarks")) for name in names
    )
