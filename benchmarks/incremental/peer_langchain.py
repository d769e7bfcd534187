"""LangChain: `index()` with a record manager, Chroma, and a cache of embeddings on disk."""

from collections.abc import Iterator

from langchain_chroma import Chroma
from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_classic.indexes import SQLRecordManager, index
from langchain_classic.storage import LocalFileStore
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_text_splitters import RecursiveCharacterTextSplitter

from benchmarks.incremental.chroma_rows import chroma_rows
from benchmarks.incremental.shared import Embedder, Given, Row, run_peer


class Counting(Embeddings):
    """The counting embedder behind LangChain's interface."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.embedder.embed(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def refresh(given: Given, embedder: Embedder) -> None:
    """Load and split everything, then let `index()` find what is new."""
    # The model's name as the namespace, as LangChain's documentation advises.
    cached = CacheBackedEmbeddings.from_bytes_store(
        Counting(embedder),
        LocalFileStore(given.state / "cache"),
        namespace=given.model,
        key_encoder="sha256",
    )
    store = Chroma("bench", cached, persist_directory=str(given.state / "chroma"))
    manager = SQLRecordManager("chroma/bench", db_url=f"sqlite:///{given.state}/records.sqlite3")
    manager.create_schema()
    splitter = RecursiveCharacterTextSplitter(chunk_size=800 * given.size, chunk_overlap=0)
    documents = [
        Document(file.read_text(), metadata={"source": str(file.relative_to(given.documents))})
        for file in sorted(given.documents.rglob("*.txt"))
    ]
    index(
        splitter.split_documents(documents),
        manager,
        store,
        cleanup="full",
        source_id_key="source",
        key_encoder="sha256",
    )


def rows(given: Given) -> Iterator[Row]:
    """What the collection holds."""
    return chroma_rows(given.state / "chroma", "bench", "source")


if __name__ == "__main__":
    run_peer(refresh, rows)
