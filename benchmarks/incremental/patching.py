"""A 1 % refresh beside the part of it that cannot be saved: copying and patching the index.

Both run in one warm process, in turns: the stages alone, then `build_candidate` once more from the
same parent with the same delta.
"""

import shutil
import time
from pathlib import Path

from benchmarks.incremental.corpus import chosen, edit
from benchmarks.incremental.ours import BenchPipeline, open_pipeline, stages_alone
from benchmarks.incremental.results import Results
from benchmarks.incremental.shared import Embedder, Given
from rag_assets.index.build import build_candidate, plan_delta, read_held
from rag_assets.refresh.candidate import wanted_version


def run_patching(results: Results, work: Path, corpus: Path, repeats: int) -> None:
    """Time refreshes after edits of 1 % of a corpus, and the index work of each alone."""
    size = len(list(corpus.glob("*.txt")))
    where = {"part": "patching", "documents": size, "system": "core"}
    if results.has(**where, repeat=repeats - 1):
        return
    state, documents = work / "state", work / "documents"
    for folder in (state, documents):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(corpus, documents)
    state.mkdir(parents=True)
    pipeline = open_pipeline(Given(state, documents, 1, "m1"), Embedder("m1"))
    stages_alone(pipeline)
    for repeat in range(-1, repeats):  # the first warms up
        edit(documents, chosen(size, repeat + 1), f"patch {repeat}")
        started = time.perf_counter()
        stages_alone(pipeline)
        refresh = time.perf_counter() - started
        alone = _patch_alone(pipeline)
        if repeat >= 0:
            results.add(**where, repeat=repeat, refresh=refresh, alone=alone)
        print(f"patching {size} #{repeat}: {refresh:.2f} s, alone {alone:.2f} s", flush=True)
    shutil.rmtree(state)
    shutil.rmtree(documents)


def _patch_alone(pipeline: BenchPipeline) -> float:
    """Seconds to build the live version once more from its parent; the result is removed."""
    versions, config = pipeline.versions, pipeline.config
    live = versions.manifest(versions.live().version)
    assert live.parent is not None
    wanted = wanted_version(pipeline)
    states = wanted.documents.select("doc_id", "state", "content_hash").collect()
    delta = plan_delta(*read_held(versions, live.parent), wanted.manifest, states)
    with versions.publishing():
        started = time.perf_counter()
        made = build_candidate(
            versions,
            wanted,
            pipeline.store.get,
            config=config.index,
            knowledge_base=config.name,
            model=pipeline.model,
            model_name="bench",
            dimension=pipeline.dimension,
            run_id="bench",
            parent=versions.manifest(live.parent),
            delta=delta,
            rebuild=None,
        )
        seconds = time.perf_counter() - started
        shutil.rmtree(versions.directory(made.version))
    return seconds
