"""One refresh of this project: through Dagster as a user runs it, or the stages alone."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial

import numpy as np
import yaml

from benchmarks.incremental.shared import (
    BATCH,
    DIMENSION,
    Embedder,
    Given,
    Row,
    parse,
    report,
    spread,
    timed,
)
from rag_assets.config import load_config
from rag_assets.embedding.base import Batch, OnBatch, gathered
from rag_assets.index.build import CHROMA
from rag_assets.index.checks import check_integrity
from rag_assets.index.dense import DenseIndex
from rag_assets.index.passages import PassageStore
from rag_assets.index.versions import REQUIRED_CHECKS
from rag_assets.refresh.candidate import check_completeness, make_candidate
from rag_assets.refresh.pipeline import Options, Pipeline
from rag_assets.refresh.plan import plan_refresh

TOKENS = 150  # one paragraph is 115 to 135 tokens of the model's tokenizer, two do not fit


class CountingEncoder:
    """The counting embedder as an encoder."""

    max_tokens = 2048
    dimension = DIMENSION
    provider = "none"

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.name = self.fingerprint = embedder.model

    def admit(self, texts: Iterable[str]) -> None:
        """Costs nothing."""

    def batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        for start in range(0, len(texts), BATCH):
            some = list(texts[start : start + BATCH])
            positions = list(range(start, start + len(some)))
            yield Batch(positions, self._embedder.embed(some), tokens=sum(self.count_tokens(some)))

    def encode(self, texts: Sequence[str], on_batch: OnBatch | None = None) -> np.ndarray:
        return gathered(self.batches(texts), (len(texts), DIMENSION), on_batch)

    def encode_query(self, text: str) -> np.ndarray:
        return self.encode([text])[0]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) // 6 for text in texts]


class BenchPipeline(Pipeline):
    """The pipeline with the counting embedder in place of the model; all else is the real thing."""

    counting: CountingEncoder

    @property
    def model(self) -> str:
        return self.counting.fingerprint

    @property
    def dimension(self) -> int:
        return DIMENSION

    @property
    def max_tokens(self) -> int:
        return CountingEncoder.max_tokens

    def encoder(self) -> CountingEncoder:
        return self.counting


def open_pipeline(given: Given, embedder: Embedder) -> BenchPipeline:
    """The pipeline over a corpus folder."""
    path = given.state / "knowledge_base.yaml"
    settings = {
        "name": "bench",
        "storage": "./store",
        "sources": [{"name": "docs", "type": "files", "path": str(given.documents)}],
        "chunking": {"default": {"size": TOKENS * given.size, "overlap": 0}},
    }
    path.write_text(yaml.safe_dump(settings))
    pipeline = BenchPipeline(load_config(path))
    pipeline.counting = CountingEncoder(embedder)
    return pipeline


def stages_alone(pipeline: Pipeline) -> None:
    """What the Dagster assets do, called one after the other; no eval set, so nothing to judge."""
    plan = plan_refresh(pipeline)
    if plan.empty:
        return
    due = plan.partitions
    pipeline.expect(plan.listings)
    raw, _ = pipeline.raw_documents(due, Options())
    pipeline.lake.write("raw_documents", due, raw)
    documents = pipeline.documents(raw, due).frame
    pipeline.lake.write("documents", due, documents)
    chunks = pipeline.chunks(documents, due).frame
    pipeline.lake.write("chunks", due, chunks)
    pipeline.lake.write("embeddings", due, pipeline.embeddings(chunks).frame)
    candidate = make_candidate(pipeline, "bench")
    if not candidate.built:
        return
    number = candidate.manifest.version
    for outcome in (
        check_completeness(pipeline, number, candidate.manifest.parent),
        check_integrity(pipeline.versions, number, pipeline.model),
    ):
        if not outcome.passed:
            raise SystemExit(outcome.summary)
    for name in REQUIRED_CHECKS:
        pipeline.versions.record_outcome(number, name, {"passed": True})
    with pipeline.versions.publishing():
        pipeline.versions.promote(number)
        pipeline.versions.collect_garbage(pipeline.config.index.keep_versions)


def through_dagster(pipeline: Pipeline) -> Callable[[], None]:
    """What `rag-assets refresh` does, once Dagster is imported."""
    from rag_assets.defs.execute import Refresher, dagster_instance

    def refresh() -> None:
        with dagster_instance(pipeline.config) as instance:
            refresher = Refresher(pipeline.config, instance)
            refresher.pipeline = pipeline
            refresher.refresh(Options())

    return refresh


def rows(pipeline: Pipeline) -> Iterator[Row]:
    """What the live version holds: texts and paths of its passages, vectors of its Chroma."""
    directory = pipeline.versions.directory(pipeline.versions.live().version)
    with closing(DenseIndex.open(directory / CHROMA, pipeline.config.index.space)) as dense:
        ids = dense.ids()
        vectors = dense.vectors(spread(ids))
    with closing(PassageStore.open(directory)) as passages:
        for passage in passages.passages(ids):
            path = passage.doc_id.removeprefix("docs/")
            yield Row(path, passage.text, vectors.get(passage.chunk_id))


def main() -> None:
    """Refresh as the command line says, and report."""
    given, alone = parse()
    embedder = Embedder(given.model)
    pipeline = open_pipeline(given, embedder)
    refresh = partial(stages_alone, pipeline) if alone else through_dagster(pipeline)
    report(given, embedder, timed(refresh), rows(pipeline))


if __name__ == "__main__":
    main()
