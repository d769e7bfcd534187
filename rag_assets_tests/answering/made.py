"""Hits and sources for tests, cut out of a document's text."""

from rag_assets.answering.context import Source
from rag_assets.retrieval.base import Hit


def hit(rank, text, start=0, doc_id="docs/a.md", title="Leave", heading=(), dense=0.8):
    return Hit(
        rank=rank,
        score=1.0 / rank,
        uri=f"file:///{doc_id}",
        doc_id=doc_id,
        chunk_id=f"{doc_id}#{start}",
        source="docs",
        title=title,
        heading=tuple(heading),
        start=start,
        end=start + len(text),
        text=text,
        signals={"dense": dense},
    )


def source(number, text, start=0, doc_id="docs/a.md", title="Leave", heading=()):
    return Source(
        number=number,
        uri=f"file:///{doc_id}",
        doc_id=doc_id,
        chunk_id=f"{doc_id}#{start}",
        title=title,
        heading=tuple(heading),
        start=start,
        end=start + len(text),
        text=text,
        rank=number,
        score=1.0 / number,
    )
