"""LlamaIndex: `IngestionPipeline` with a document store, its cache, and Chroma."""

from collections.abc import Iterator

import chromadb
from llama_index.core import Document
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.vector_stores.chroma import ChromaVectorStore

from benchmarks.incremental.chroma_rows import chroma_rows
from benchmarks.incremental.shared import BATCH, Embedder, Given, Row, run_peer


class Counting(BaseEmbedding):
    """The counting embedder behind LlamaIndex's interface."""

    _embedder: Embedder = PrivateAttr()

    def __init__(self, embedder: Embedder) -> None:
        super().__init__(model_name=embedder.model, embed_batch_size=BATCH)
        self._embedder = embedder

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._embedder.embed([text])[0].tolist()

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embedder.embed(texts).tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def refresh(given: Given, embedder: Embedder) -> None:
    """Load everything; the pipeline compares hashes of whole documents."""
    client = chromadb.PersistentClient(str(given.state / "chroma"))
    collection = client.get_or_create_collection("bench")
    splitter = SentenceSplitter(
        chunk_size=800 * given.size,
        chunk_overlap=0,
        tokenizer=list,
        paragraph_separator="\n\n",
        include_metadata=False,
    )
    pipeline = IngestionPipeline(
        transformations=[splitter, Counting(embedder)],
        docstore=SimpleDocumentStore(),
        vector_store=ChromaVectorStore(chroma_collection=collection),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )
    kept = given.state / "pipeline"
    if kept.exists():
        pipeline.load(str(kept))
    names = [str(file.relative_to(given.documents)) for file in given.documents.rglob("*.txt")]
    pipeline.run(
        documents=[
            Document(text=(given.documents / name).read_text(), id_=name) for name in sorted(names)
        ]
    )
    pipeline.persist(str(kept))


def rows(given: Given) -> Iterator[Row]:
    """What the collection holds."""
    return chroma_rows(given.state / "chroma", "bench", "ref_doc_id")


if __name__ == "__main__":
    run_peer(refresh, rows)
