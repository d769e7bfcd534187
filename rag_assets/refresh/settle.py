"""Cleaning anew what a refresh changed without being about it.

A document's repeated lines depend on its neighbours, so a change in one partition can concern
documents of others. They go through all stages before a candidate is built of them.
"""

from dataclasses import dataclass

from rag_assets.cleaning.documents import measuring_key
from rag_assets.cleaning.measured import read_measured, write_measured
from rag_assets.embedding.base import EmbeddingReport
from rag_assets.refresh.pipeline import Pipeline

_NOTHING = EmbeddingReport(reused=0, computed=0, tokens=0, usd=0.0, seconds=0.0)


@dataclass(frozen=True, slots=True)
class Settled:
    """What was done: how many documents were cleaned anew, and what their vectors cost."""

    documents: int
    report: EmbeddingReport


def settle(pipeline: Pipeline) -> Settled:
    """Bring the partitions that `measured` names as behind up to date, stage by stage.

    Their sources are not listed again. Killed at any moment, the next run does it.
    """
    lake = pipeline.lake
    records = [(s, read_measured(lake, s.name).behind) for s in pipeline.config.sources]
    behind = [p for _, partitions in records for p in partitions]
    if not behind:
        return Settled(0, _NOTHING)
    documents = pipeline.documents(lake.read("raw_documents", behind), behind)
    lake.write("documents", behind, documents.frame)
    chunks = pipeline.chunks(documents.frame, behind)
    lake.write("chunks", behind, chunks.frame)
    embedded = pipeline.embeddings(chunks.frame)
    lake.write("embeddings", behind, embedded.frame)
    for source, partitions in records:
        if partitions:
            write_measured(lake, source.name, measuring_key(source), ())
    return Settled(documents.computed, embedded.report)
