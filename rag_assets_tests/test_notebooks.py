"""The notebooks run top to bottom in fresh kernels, and are kept without outputs."""

import ast
import json
import os
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from rag_assets_tests.conftest import SUBJECTS, SmallBase

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def execute(notebook: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Run a notebook on a knowledge base; the outputs of its cells. Raises what a cell raises."""
    monkeypatch.setenv("RAG_CONFIG", str(config))
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    book = nbformat.read(notebook, 4)
    resources = {"metadata": {"path": str(notebook.parent)}}
    NotebookClient(book, timeout=240, kernel_name="python3", resources=resources).execute()
    return [output for cell in book.cells for output in cell.get("outputs", [])]


def plots(outputs: list[dict]) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_they_are_numbered() -> None:
    assert [notebook.name[:2] for notebook in NOTEBOOKS] == [
        "01",
        "02",
        "03",
        "04",
        "05",
        "06",
        "07",
    ]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_without_outputs_and_with_code_that_parses(notebook: Path) -> None:
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            ast.parse("".join(cell["source"]))


def test_one_runs_on_any_knowledge_base(small: SmallBase, monkeypatch: pytest.MonkeyPatch) -> None:
    small.fill(6)
    small.ask_about(list(SUBJECTS[:6]), **{"hit@5": 0.1, "min_queries": 2})
    small.refresh()
    outputs = execute(NOTEBOOKS[1], small.path, monkeypatch)
    assert plots(outputs) == 2
    assert any("questions: 6 judged queries of 6" in output.get("text", "") for output in outputs)


@pytest.fixture(scope="module")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample knowledge base, refreshed into a directory of its own."""
    from rag_assets.config import load_config
    from rag_assets.defs.execute import Refresher, dg
    from rag_assets.refresh.pipeline import Options

    root = tmp_path_factory.mktemp("handbook")
    settings = yaml.safe_load((ROOT / "knowledge_base.yaml").read_text())
    settings["storage"] = "./store"
    settings["sources"][0]["path"] = str(ROOT / settings["sources"][0]["path"])
    settings["evaluation"]["sets"] = [str(ROOT / "eval_sets" / "handbook.jsonl")]
    file = root / "knowledge_base.yaml"
    file.write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.ephemeral() as instance:
        assert Refresher(load_config(file), instance).refresh(Options())["promoted"]
    return file


@pytest.mark.full
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_all_run_on_the_sample_knowledge_base(
    notebook: Path, handbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = execute(notebook, handbook, monkeypatch)
    assert plots(outputs) >= 1
    assert any("text/html" in output.get("data", {}) for output in outputs)
