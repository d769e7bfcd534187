"""How long it takes to see that nothing, or one thing, changed among many documents.

    python -m benchmarks.scan --documents 100000

Writes that many small files, takes them through the stages up to the embeddings with a counting
embedder, then times `plan_refresh`, which is all that a sensor tick does.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.incremental.ours import open_pipeline
from benchmarks.incremental.shared import Embedder, Given
from rag_assets.refresh.pipeline import Options, Pipeline
from rag_assets.refresh.plan import plan_refresh

_FILES_A_FOLDER = 500


def write_documents(root: Path, count: int) -> None:
    """`count` one-paragraph files, 500 a folder."""
    for number in range(count):
        folder = root / f"{number // _FILES_A_FOLDER:05d}"
        if number % _FILES_A_FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"{number:07d}.txt").write_text(f"Note {number} says what note {number} says.\n")


def take_in(pipeline: Pipeline) -> None:
    """All stages up to the embeddings, without an index."""
    every = pipeline.partitions
    raw, _ = pipeline.raw_documents(every, Options())
    documents = pipeline.documents(raw, every).frame
    chunks = pipeline.chunks(documents, every).frame
    frames = {
        "raw_documents": raw,
        "documents": documents,
        "chunks": chunks,
        "embeddings": pipeline.embeddings(chunks).frame,
    }
    for stage, frame in frames.items():
        pipeline.lake.write(stage, every, frame)


def timed_plans(pipeline: Pipeline, repeats: int = 5) -> tuple[float, int]:
    """(median seconds of a plan, partitions due because of the sources)."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        plan = plan_refresh(pipeline)
        seconds.append(time.perf_counter() - started)
    due = sum(count for reason, count in plan.reasons.items() if reason != "to index")
    return statistics.median(seconds), due


def main() -> None:
    """Print the two medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    count = parser.parse_args().documents
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "documents"
        write_documents(root, count)
        state = Path(folder) / "state"
        state.mkdir()
        pipeline = open_pipeline(Given(state, root, 1, "m1"), Embedder("m1"))
        take_in(pipeline)
        seconds, due = timed_plans(pipeline)
        print(f"{count} documents, nothing changed: {seconds:.2f} s a plan, {due} due")
        next(root.rglob("*.txt")).write_text("Something else.\n")
        seconds, due = timed_plans(pipeline)
        print(f"{count} documents, one changed:     {seconds:.2f} s a plan, {due} due")


if __name__ == "__main__":
    main()
