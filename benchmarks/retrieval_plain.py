"""What one gets without this project: Chroma and tantivy as their documentation shows them."""

import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rag_assets.embedding.base import Encoder
from rag_assets.evaluation.evaluate import PreparedEncoder


@dataclass(frozen=True, slots=True)
class Found:
    """A document that a plain system ranked; it knows no passages."""

    doc_id: str
    score: float
    start: int = 0
    end: int = 0


class PlainChroma:
    """One vector a document, cut off where the model's window ends; the same model as ours."""

    def __init__(
        self, model: Encoder, queries: PreparedEncoder, documents: Mapping[str, str]
    ) -> None:
        import chromadb

        self._queries = queries
        settings = chromadb.Settings(anonymized_telemetry=False)
        client = chromadb.EphemeralClient(settings)
        self._collection = client.create_collection(f"plain-{uuid.uuid4().hex[:8]}")
        names, texts = list(documents), list(documents.values())
        for at in range(0, len(names), 500):
            vectors = model.encode(texts[at : at + 500])
            self._collection.add(ids=names[at : at + 500], embeddings=vectors)

    def search(self, query: Any, k: int) -> list[Found]:
        """The k nearest documents."""
        vector = self._queries.encode_query(query.query)
        found = self._collection.query(query_embeddings=[vector], n_results=k)
        distances = (found["distances"] or [[]])[0]
        return [Found(name, -far) for name, far in zip(found["ids"][0], distances, strict=True)]


class PlainTantivy:
    """One row a document, the default tokenizer; the characters of its syntax taken out."""

    def __init__(
        self, model: Encoder, queries: PreparedEncoder, documents: Mapping[str, str]
    ) -> None:
        import tantivy

        builder = tantivy.SchemaBuilder()
        builder.add_text_field("name", stored=True, tokenizer_name="raw")
        builder.add_text_field("text")
        self._index = tantivy.Index(builder.build(), path=tempfile.mkdtemp())
        writer = self._index.writer()
        for name, text in documents.items():
            writer.add_document(tantivy.Document(name=name, text=text))
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()
        self._searcher = self._index.searcher()

    def search(self, query: Any, k: int) -> list[Found]:
        """The k best documents by BM25."""
        words = "".join(c if c.isalnum() else " " for c in query.query)
        hits = self._searcher.search(self._index.parse_query(words, ["text"]), k).hits
        return [Found(self._searcher.doc(at)["name"][0], score) for score, at in hits]
