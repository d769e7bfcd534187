"""Five documents edited, while the documents that did not change grow: is the cost flat?"""

import shutil
from pathlib import Path

from benchmarks.incremental.corpus import chosen, edit
from benchmarks.incremental.results import Results
from benchmarks.incremental.systems import Runner, Task

EDITED = 5


def run_growth(
    runner: Runner, results: Results, work: Path, corpus: Path, key: str, repeats: int
) -> None:
    """Build an index of a corpus, then time refreshes after edits of five documents each."""
    size = len(list(corpus.glob("*.txt")))
    where = {"part": "growth", "documents": size, "system": key}
    if results.has(**where, repeat=repeats - 1):
        return
    state, documents = work / "state", work / "documents"
    for folder in (state, documents):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(corpus, documents)
    runner.run(key, Task(state, documents))
    for repeat in range(repeats):
        edit(documents, chosen(size, repeat, EDITED), f"growth {repeat}")
        found = runner.run(key, Task(state, documents))
        results.add(**where, repeat=repeat, **found)
        print(f"growth {size} {key} #{repeat}: {found['seconds']:.2f} s", flush=True)
    shutil.rmtree(state)
    shutil.rmtree(documents)
