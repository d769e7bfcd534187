"""The eval sets of a knowledge base, read for one of its versions."""

from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from rag_assets.evaluation.eval_set import EvalSet, load_eval_set
from rag_assets.index.passages import PassageStore
from rag_assets.refresh.pipeline import Pipeline


def eval_sets(pipeline: Pipeline, version: int) -> list[EvalSet]:
    """The configured sets, read with the documents that a version holds.

    Each has a name of its own: files that are called the same go by their folder's name as well.
    """
    pipeline.versions.manifest(version)  # says which versions there are when this one is not
    sources = [source.name for source in pipeline.config.sources]
    with closing(PassageStore.open(pipeline.versions.directory(version))) as passages:
        doc_ids = passages.document_ids()
    entries = pipeline.config.evaluation.eval_sets
    sets = [load_eval_set(entry.path, entry.format, sources, doc_ids) for entry in entries]
    names = _told_apart([one.name for one in sets], [Path(entry.path) for entry in entries])
    return [replace(one, name=name) for one, name in zip(sets, names, strict=True)]


def _told_apart(names: list[str], paths: list[Path]) -> list[str]:
    """The names, each with as many folders above it as it takes to differ from the others."""
    folders = [path.resolve().parent.parts[::-1] for path in paths]
    found = list(names)
    for depth in range(max(map(len, folders), default=0)):
        often = Counter(found)
        if len(often) == len(found):
            break
        found = [
            f"{above[depth]}-{name}" if often[name] > 1 and depth < len(above) else name
            for name, above in zip(found, folders, strict=True)
        ]
    return found
