"""Mistakes that people make: one clear line with what to do, and the right exit status."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rag_assets.cli import canary_commands  # noqa: F401
from rag_assets_tests.cli.test_commands import base, call, own_dagster_home, reply  # noqa: F401
from rag_assets_tests.conftest import SmallBase


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (["search", "x", "--version", "99"], "index version 99 does not exist; there are: 1", 2),
        (["evaluate", "--version", "99"], "index version 99 does not exist; there are: 1", 2),
        (["evaluate", "--compare", "99"], "index version 99 does not exist; there are: 1", 2),
        (["rollback", "99"], "index version 99 is not kept; there are: 1", 2),
        (["promote", "99"], "index version 99 does not exist; there are: 1", 2),
        (["rollback"], "there is no earlier one to roll back to", 1),
        (["serch"], "Did you mean 'search'", 2),
        (["search", "x", "--version", "one"], "Invalid value for '--version'", 2),
        (["search", ""], "query: expected a text that is not empty", 2),
        (["forget", "nope"], "no document of this uri or id is known", 2),
        (["quarantine", "show", "nope"], "see `rag-assets quarantine list`", 2),
        (["sweep", "nope.yaml"], "nope.yaml: cannot be read: No such file or directory", 2),
        (["costs", "--month", "2026-13"], "expected YYYY-MM, such as 2026-11", 2),
        (["keys", "revoke", "nope"], "see `rag-assets keys list`", 2),
        (["evalset", "review", "--accept", "nope"], "`rag-assets evalset list` shows those", 2),
        (["backup", "/dev/null/x.tar"], "the backup cannot be written", 1),
        (["restore", "/dev/null/x.tar", "--to", "/dev/null/y"], "error: /dev/null", 1),
        (["serve", "--host", "0.0.0.0"], "make an API key with `rag-assets keys create NAME`", 2),
        (["serve", "--also", "/nowhere.yaml"], "/nowhere.yaml: no such file", 2),
    ],
)
def test_a_mistake_is_one_clear_line(base: SmallBase, words, said, status) -> None:  # noqa: F811
    result = call(*words, *([] if words == ["serch"] else ["--config", base.path]))
    assert result.exit_code == status, result.output
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ("a: [", "cannot be read as YAML: line 1, column 5"),
        ("grid: {chunking.default.sise: [1]}", "chunking.default.sise: unknown key; did you mean"),
        ("grid: {retrieval.k: [five]}", "retrieval.k: expected a whole number, found 'five'"),
        ("gird: {}", "gird: unknown key; did you mean grid?"),
        ("", "expected the keys metric and grid"),
    ],
)
def test_a_grid_that_cannot_be_tried(base: SmallBase, tmp_path: Path, grid, said) -> None:  # noqa: F811
    (tmp_path / "grid.yaml").write_text(grid)
    result = call("sweep", tmp_path / "grid.yaml", "--config", base.path)
    assert result.exit_code == 2
    assert said in result.stderr


def test_init_where_nothing_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory, said, status in (
        (tmp_path / "file", "is a file; name a new or an empty directory", 2),
        (tmp_path, "is not empty; name a new or an empty directory", 2),
        (tmp_path / "file" / "below", "Not a directory", 1),
    ):
        result = call("init", directory)
        assert (result.exit_code, said in result.stderr) == (status, True)
        assert "[Errno" not in result.stderr
    assert "cd '" in call("init", tmp_path / "two words").output


def test_a_refresh_without_any_document_says_what_is_missing(small: SmallBase) -> None:
    result = call("refresh", "--config", small.path)
    assert result.exit_code == 3
    assert "no version is live: " in result.stderr
    assert "`rag-assets doctor` says what each source lists" in result.stderr
    assert "None" not in result.output


@pytest.mark.parametrize("words", [["refresh"], ["watch"]])
def test_storage_that_cannot_be_made_is_named(small: SmallBase, words: list[str]) -> None:
    small.fill(1)
    small.configure(storage="/dev/null/rag")
    result = call(*words, "--config", small.path)
    assert result.exit_code == 1
    assert "/dev/null/rag/dagster: cannot be written (Not a directory)" in result.stderr


PROGRAM = [sys.executable, "-c", "from rag_assets.cli import main; main()"]


def run(base: SmallBase, *words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:  # noqa: F811
    return subprocess.run(
        [*PROGRAM, *words, "--config", str(base.path)],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )


def test_a_reader_that_leaves_and_a_locale_that_is_not_utf8(base: SmallBase) -> None:  # noqa: F811
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "No/Where"}
    found = run(base, "search", "Büro payroll", COLUMNS="10", NO_COLOR="1", **plain)
    assert (found.returncode, b"payroll" in found.stdout) == (0, True), found.stderr
    left = subprocess.Popen(
        [*PROGRAM, "explain", "docs/payroll.md", "--json", "--config", str(base.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert left.stdout is not None
    left.stdout.close()
    _, said = left.communicate()
    assert (left.returncode, said) == (0, b"")


def test_ctrl_c_ends_what_stays_up(base: SmallBase) -> None:  # noqa: F811
    process = subprocess.Popen(
        [*PROGRAM, "exporter", "--json", "--port", "0", "--config", str(base.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    assert said["knowledge_bases"] == ["small"]
    assert said["url"].startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate()
    assert (process.returncode, complaint) == (0, b"")
