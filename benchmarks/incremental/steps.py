"""The edit script, step by step, each in a fresh process: what it costs and whether it is right."""

import shutil
from pathlib import Path

from benchmarks.incremental.corpus import STEPS, apply, settings, texts
from benchmarks.incremental.growth import edit_five, measured
from benchmarks.incremental.results import Results
from benchmarks.incremental.systems import Runner, Task


def run_steps(
    runner: Runner,
    results: Results,
    work: Path,
    corpus: Path,
    key: str,
    repeat: int,
    until: str = STEPS[-1],
) -> None:
    """The steps of one system over a copy of a corpus, from the first to `until`."""
    size = len(list(corpus.glob("*.txt")))
    where = {"part": "steps", "documents": size, "system": key, "repeat": repeat}
    if results.has(**where, step=until):
        return
    results.forget(**where)
    state, documents = work / "state", work / "documents"
    for folder in (state, documents, work / "documents-aside"):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(corpus, documents)
    seen: dict[str, set[str]] = {}
    for step in STEPS[: STEPS.index(until) + 1]:
        if step == "edit 1 %" and not measured(results, size, key):
            edit_five(runner, results, Task(state, documents), key)
            seen["m1"] |= texts(documents, 1)
        apply(step, documents, size)
        chunk, model = settings(step)
        wanted = texts(documents, chunk)
        ideal = len(wanted - seen.setdefault(model, set()))
        seen[model] |= wanted
        twice = {"BENCH_AGAIN": "1"} if step == "no change" else {}
        found = runner.run(key, Task(state, documents, chunk, model), **twice)
        results.add(**where, step=step, ideal=ideal, **found)
        wrong = {name: found[name] for name in WRONG if found[name]}
        print(
            f"{size} {key} #{repeat} {step}: {found['embedded']} embedded (ideal {ideal}),"
            f" {found['seconds']:.2f} s {wrong or ''}",
            flush=True,
        )
    shutil.rmtree(state)
    shutil.rmtree(documents)


WRONG = ("missing", "surplus", "wrong_vectors", "wrong_size")
