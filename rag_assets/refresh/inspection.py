"""Looking at a knowledge base: its versions, one document's way through the stages, quarantine."""

from contextlib import closing
from typing import Any

import polars as pl

from rag_assets.chunking.chunks import chunk_fingerprint
from rag_assets.cleaning.documents import document_recipe
from rag_assets.errors import BadRequest
from rag_assets.index.passages import PassageStore
from rag_assets.refresh import evidence
from rag_assets.refresh.duplicates import places
from rag_assets.refresh.pipeline import Pipeline


def list_versions(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Every kept version, newest first: number, state, sizes, figures, verdict."""
    versions = pipeline.versions
    rows = []
    for number in reversed(versions.sealed()):
        manifest = versions.manifest(number)
        rows.append(
            {
                "version": number,
                "state": str(versions.state(number)),
                "created_at": manifest.created_at,
                "parent": manifest.parent,
                "run_id": manifest.run_id,
                "documents": manifest.documents,
                "chunks": manifest.chunks,
                "embedding_model": manifest.embedding_model,
                "metrics": evidence.summary(versions, number),
                "verdict": versions.verdict(number),
            }
        )
    return rows


def explain_document(pipeline: Pipeline, uri_or_id: str) -> dict[str, Any]:
    """Where a document stands, stage by stage, and why it would be rebuilt or reused now.

    Raises: BadRequest when no stage knows it.
    """
    every = pipeline.partitions
    match = (pl.col("doc_id") == uri_or_id) | pl.col("uri").is_in(
        [uri_or_id, uri_or_id.partition("#")[0]]
    )
    raw = pipeline.lake.scan("raw_documents", every).filter(match).collect()
    if raw.is_empty():
        raise BadRequest(
            f"{uri_or_id}: no document of this uri or id is known; documents are known after the"
            " first refresh that lists them"
        )
    row = raw.row(0, named=True)
    doc_id = row["doc_id"]
    documents = pipeline.lake.scan("documents", every).filter(pl.col("doc_id") == doc_id).collect()
    chunks = pipeline.lake.scan("chunks", every).filter(pl.col("doc_id") == doc_id).collect()
    embedded = pipeline.lake.scan("embeddings", every).filter(pl.col("doc_id") == doc_id).collect()
    indexed = _indexed(pipeline, doc_id)
    recipe = document_recipe(pipeline.config.source(row["source"]))
    stages = {
        "source": _of_source(row),
        "parsing": _of_parsing(row, documents, recipe),
        "chunking": _of_chunking(pipeline, documents, chunks),
        "embedding": _of_embedding(pipeline, chunks, embedded),
        "index": "in the live version" if indexed else "not in the live version",
    }
    return {
        "doc_id": doc_id,
        "uri": row["uri"],
        "state": _state(row, documents, chunks, embedded, indexed=indexed),
        "content_hash": row["content_hash"],
        "token": row["token"],
        "stages": stages,
        "same_text": [
            other
            for group in places(pipeline, doc_id)
            for other in group["documents"]
            if other["doc_id"] != doc_id
        ],
        "chunks": chunks.sort("ordinal")
        .select("chunk_id", "ordinal", "start", "end", "tokens", "headings", "page")
        .to_dicts(),
    }


def _indexed(pipeline: Pipeline, doc_id: str) -> bool:
    pointer = pipeline.versions.pointer()
    if pointer is None:
        return False
    with closing(PassageStore.open(pipeline.versions.directory(pointer.version))) as passages:
        return passages.document(doc_id) is not None


def _of_source(row: dict[str, Any]) -> str:
    if row["held"]:
        return "gone from the source; held by the delete guard"
    if row["problem"]:
        return f"quarantined: {row['problem']}"
    return (
        f"{row['size']} bytes, content {row['content_hash'][:12]}; read again when its token moves"
    )


def _of_parsing(row: dict[str, Any], documents: pl.DataFrame, recipe: str) -> str:
    if documents.is_empty():
        return "not parsed yet"
    document = documents.row(0, named=True)
    if document["problem"]:
        return f"quarantined: {document['problem']}; tried again when it or the parser changes"
    made_by, digest, *left_out = document["fingerprint"].split("-")
    if (made_by, digest) == (recipe, row["digest"]):
        without = "; without lines that its source repeats" if left_out else ""
        return f"reused: neither its bytes nor the parser changed since it was parsed{without}"
    if made_by != recipe:
        return "due: the parser, or what its source cleans, changed since it was parsed"
    return "due: its bytes changed since it was parsed"


def _of_chunking(pipeline: Pipeline, documents: pl.DataFrame, chunks: pl.DataFrame) -> str:
    if documents.is_empty() or documents["problem"][0] is not None:
        return "nothing to cut"
    expression = chunk_fingerprint(
        documents, pipeline.config.chunking, pipeline.tokenizer, pipeline.max_tokens
    )
    wanted = documents.with_columns(expression)["fingerprint"][0]
    if chunks.is_empty():
        return "not cut yet"
    made_of = chunks["fingerprint"][0]
    if made_of == wanted:
        return f"reused: {chunks.height} chunks, neither the text nor the profile changed"
    if made_of.partition("-")[0] != wanted.partition("-")[0]:
        return "due: the chunking profile, its code or the tokenizer changed"
    return "due: its text, title or category changed since it was cut"


def _of_embedding(pipeline: Pipeline, chunks: pl.DataFrame, embedded: pl.DataFrame) -> str:
    if chunks.is_empty():
        return "nothing to embed"
    missing = len(pipeline.store.missing(chunks["text_key"].to_list()))
    right = embedded.filter(pl.col("model") == pipeline.model)
    if missing:
        return f"due: {missing} of {chunks.height} texts have no vector of {pipeline.model}"
    if right.height < chunks.height:
        return f"due: all {chunks.height} vectors are in the store and will be reused"
    return f"reused: all {chunks.height} texts have vectors of {pipeline.model}"


def _state(
    row: dict[str, Any],
    documents: pl.DataFrame,
    chunks: pl.DataFrame,
    embedded: pl.DataFrame,
    *,
    indexed: bool,
) -> str:
    """seen, parsed, chunked, embedded, live, quarantined or held."""
    if row["held"]:
        return "held"
    if row["problem"] or (not documents.is_empty() and documents["problem"][0]):
        return "quarantined"
    if indexed:
        return "live"
    if not embedded.is_empty():
        return "embedded"
    if not chunks.is_empty():
        return "chunked"
    return "seen" if documents.is_empty() else "parsed"
