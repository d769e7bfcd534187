"""The eval sets of a knowledge base, read for one of its versions."""

from contextlib import closing

from rag_assets.evaluation.eval_set import EvalSet, load_eval_set
from rag_assets.index.passages import PassageStore
from rag_assets.refresh.pipeline import Pipeline


def eval_sets(pipeline: Pipeline, version: int) -> list[EvalSet]:
    """The configured sets, read with the documents that a version holds."""
    pipeline.versions.manifest(version)  # says which versions there are when this one is not
    sources = [source.name for source in pipeline.config.sources]
    with closing(PassageStore.open(pipeline.versions.directory(version))) as passages:
        doc_ids = passages.document_ids()
    return [
        load_eval_set(entry.path, entry.format, sources, doc_ids)
        for entry in pipeline.config.evaluation.eval_sets
    ]
