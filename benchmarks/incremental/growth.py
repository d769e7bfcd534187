"""Five documents edited, while the documents that did not change grow: is the cost flat?"""

import shutil
from pathlib import Path

from benchmarks.incremental.corpus import chosen, edit
from benchmarks.incremental.results import Results
from benchmarks.incremental.systems import Runner, Task

EDITED, GROWTH_REPEATS = 5, 3


def run_growth(runner: Runner, results: Results, work: Path, corpus: Path, key: str) -> None:
    """Build an index of a corpus for `edit_five`; where the steps ran, they have done so."""
    size = len(list(corpus.glob("*.txt")))
    if measured(results, size, key):
        return
    state, documents = work / "state", work / "documents"
    for folder in (state, documents):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(corpus, documents)
    runner.run(key, Task(state, documents))
    edit_five(runner, results, Task(state, documents), key)
    shutil.rmtree(state)
    shutil.rmtree(documents)


def measured(results: Results, size: int, key: str) -> bool:
    """Whether all edits of one system at one size are measured."""
    return results.has(part="growth", documents=size, system=key, repeat=GROWTH_REPEATS - 1)


def edit_five(runner: Runner, results: Results, task: Task, key: str) -> None:
    """Time refreshes after edits of five documents each, of an index that is up to date."""
    size = len(list(task.documents.glob("*.txt")))
    where = {"part": "growth", "documents": size, "system": key}
    results.forget(**where)
    for repeat in range(GROWTH_REPEATS):
        edit(task.documents, chosen(size, repeat, EDITED), f"growth {repeat}")
        found = runner.run(key, task)
        results.add(**where, repeat=repeat, **found)
        print(f"growth {size} {key} #{repeat}: {found['seconds']:.2f} s", flush=True)
