"""`python -m benchmarks.incremental`: what a refresh costs, beside three other systems.

Runs what is not in the results file yet, prints the tables and writes them to
docs/benchmarks-incremental.md. Takes hours at 5,000 documents; it can be stopped and continued.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.incremental import page
from benchmarks.incremental.corpus import STEPS, make_corpus
from benchmarks.incremental.growth import run_growth
from benchmarks.incremental.kill import run_kill
from benchmarks.incremental.patching import run_patching
from benchmarks.incremental.results import Results
from benchmarks.incremental.steps import run_steps
from benchmarks.incremental.systems import SYSTEMS, Runner

PARTS = ("steps", "kill", "growth", "patching")
_WORK = Path(tempfile.gettempdir()) / "benchmark-incremental"
_KILLED, _PATCHED = 500, 2500
_GROWTH, _LARGE = [500, 2000, 5000], 10_000


def main() -> None:
    """Measure and report."""
    given = _arguments()
    work = given.work.absolute()
    results = Results(given.results or work / "results.jsonl")
    for key in given.again:
        results.forget(system=key)
    runner = Runner(given.peers_python, work)

    def corpus(documents: int) -> Path:
        folder = work / f"corpus-{documents}"
        if not folder.exists():
            make_corpus(folder, documents)
        return folder

    if "steps" in given.parts:
        for documents in given.documents:
            for repeat in range(given.repeats):
                for key in given.systems:
                    run_steps(runner, results, work, corpus(documents), key, repeat, given.until)
    if "kill" in given.parts:
        for repeat in range(given.repeats):
            for key in given.systems:
                run_kill(runner, results, work, corpus(_KILLED), key, repeat)
    if "growth" in given.parts:
        for documents in given.growth + [_LARGE] * given.large:
            for key in given.systems:
                run_growth(runner, results, work, corpus(documents), key)
    if "patching" in given.parts:
        run_patching(results, work, corpus(_PATCHED), given.repeats)
    found = page.tables(results)
    page.show(found)
    page.write_page(found)
    page.write_plot(results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.incremental", description=__doc__)
    parser.add_argument("--documents", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument(
        "--again", nargs="+", choices=SYSTEMS, default=[], help="forget what these measured before"
    )
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--growth", type=int, nargs="+", default=_GROWTH, help="documents in the part of that name"
    )
    parser.add_argument("--until", choices=STEPS, default=STEPS[-1], help="the last step to do")
    parser.add_argument("--large", action="store_true", help="growth up to 10,000 documents")
    parser.add_argument(
        "--peers-python",
        type=Path,
        default=Path(sys.executable),
        help="an interpreter with the extra `bench`; this one by default",
    )
    parser.add_argument("--work", type=Path, default=_WORK, help="scratch directory")
    parser.add_argument("--results", type=Path, help="default: results.jsonl in --work")
    return parser.parse_args()


if __name__ == "__main__":
    main()
