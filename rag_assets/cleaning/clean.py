"""All cleaning of one document, in the order in which it has to happen."""

from dataclasses import replace

from rag_assets.cleaning.language import language_of
from rag_assets.cleaning.pii import guarded
from rag_assets.cleaning.repetition import Repetition, without_repetition
from rag_assets.config import SourceConfig
from rag_assets.parsing.base import Parsed

_NOTHING = Repetition()


def clean(
    doc_id: str, parsed: Parsed, config: SourceConfig, repetition: Repetition = _NOTHING
) -> Parsed:
    """A parsed document as it may be stored, chunked and embedded.

    Lines that its source repeats go, then personal data by the source's policy; its language goes
    into the metadata, unless the text does not tell and the document says so itself.
    Pure: the same arguments give the same document.

    Raises: Unparseable blocked.
    """
    document = without_repetition(doc_id, parsed, repetition)
    document = guarded(document, config.pii)
    declared = str(document.metadata.get("language") or "").replace("_", "-")
    language = language_of(document.text) or declared.partition("-")[0].lower()
    metadata = {**document.metadata, "language": language}
    if not language:
        del metadata["language"]
    return replace(document, metadata=metadata)
