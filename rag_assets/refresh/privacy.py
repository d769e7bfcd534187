"""Does personal data stand in an index although its source redacts it? Told from a sample."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

from rag_assets.cleaning.pii import leaks
from rag_assets.index.base import CheckOutcome, Passage
from rag_assets.index.passages import PassageStore
from rag_assets.refresh.pipeline import Pipeline

_SAMPLE = 500  # passages of each source


def check_leaks(pipeline: Pipeline, version: int) -> CheckOutcome:
    """Look for personal data in passages of redacted sources, as the sealed version holds them.

    A finding warns and does not block: what is served already would not become better by it.
    """
    redacted = [s for s in pipeline.config.sources if s.pii.mode == "redact"]
    if not redacted:
        return CheckOutcome("personal_data", True, "no source redacts personal data")
    found: Counter[str] = Counter()
    looked = 0
    with closing(PassageStore.open(pipeline.versions.directory(version))) as passages:
        for source in redacted:
            documents = passages.document_ids("source = ?", [source.name])
            # Ids are hashes, so that the first ones are a sample by chance, and always the same.
            sample = sorted(passages.chunk_ids(documents))[:_SAMPLE]
            looked += len(sample)
            for passage in passages.passages(sample):
                kinds = leaks(_texts(passage), source.pii)
                found.update({f"{source.name}: {kind}": n for kind, n in kinds.items()})
    if not found:
        return CheckOutcome("personal_data", True, f"none in {looked} sampled passages", value=0.0)
    listed = ", ".join(f"{n} {kind}" for kind, n in found.most_common())
    return CheckOutcome(
        "personal_data",
        True,
        f"{looked} sampled passages of redacted sources still hold {listed}; run `rag-assets"
        " refresh --full`",
        value=float(found.total()),
        decided=False,
        details={"found": [{"source and kind": kind, "count": n} for kind, n in found.items()]},
    )


def _texts(passage: Passage) -> Iterator[str]:
    yield from (passage.text, passage.title, *passage.heading)
    yield json.dumps(passage.metadata, ensure_ascii=False)
