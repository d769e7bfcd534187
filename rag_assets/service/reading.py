"""Whole documents as an index version holds them, for those who may read them."""

from dataclasses import dataclass
from typing import Any

from rag_assets.retrieval.base import MAX_K, Hit
from rag_assets.service.errors import Refused
from rag_assets.service.library import Shelf
from rag_assets.service.principals import Principal


@dataclass(frozen=True, slots=True)
class Document:
    """A document of one index version; its passages are in order, of a long one the first 1,000.

    text: the passages at their character offsets; what belongs to no passage is a line break and
    blanks, so that offsets hold.
    """

    index_version: int
    passages: tuple[Hit, ...]

    @property
    def uri(self) -> str:
        """Where the document came from."""
        return self.passages[0].uri

    @property
    def title(self) -> str:
        """For people."""
        return self.passages[0].title

    @property
    def metadata(self) -> dict[str, Any]:
        """As filters see it."""
        return dict(self.passages[0].metadata)

    @property
    def text(self) -> str:
        """The document's text, put together from its passages."""
        parts: list[str] = []
        end = 0
        for passage in self.passages:
            if passage.start > end:
                parts.append("\n" + " " * (passage.start - end - 1))
            parts.append(passage.text[max(0, end - passage.start) :])
            end = max(end, passage.end)
        return "".join(parts)


def read_document(
    shelf: Shelf, doc_id: str, principal: Principal, version: int | None = None
) -> Document:
    """A document by its id, from the live version or the one named.

    It is found by a search within that document, so that who may read it is decided in one place.
    Raises: Refused (404) for one that is not there, and just so for one that the principal may not
    read; IndexNotReady.
    """
    found = shelf.knowledge.search(
        "document",
        k=MAX_K,
        where=principal.narrowed({"doc_id": doc_id}),
        groups=principal.readable_groups(None),
        version=shelf.checked_version(version),
        mode="dense",
    )
    # Metadata may have a `doc_id` of its own, which the filter then means.
    passages = sorted((h for h in found if h.doc_id == doc_id), key=lambda hit: hit.start)
    if not passages:
        message = f"there is no document {doc_id!r} in version {found.index_version}"
        raise Refused(404, message, "document_not_found", "id")
    return Document(found.index_version, tuple(passages))
