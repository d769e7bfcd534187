"""All cleaning of one document, in the order in which it has to happen."""

from collections.abc import Collection
from dataclasses import replace

from rag_assets.cleaning.language import language_of
from rag_assets.cleaning.pii import guarded
from rag_assets.cleaning.repetition import Repetition, line_keys, without_lines
from rag_assets.config import SourceConfig
from rag_assets.parsing.base import Parsed

_NOTHING = Repetition()


def clean(
    doc_id: str, parsed: Parsed, config: SourceConfig, repetition: Repetition = _NOTHING
) -> Parsed:
    """A parsed document as it may be stored, chunked and embedded.

    Personal data goes by the source's policy, then lines that the source repeats; its language goes
    into the metadata, unless the text does not tell and the document says so itself.
    Pure: the same arguments give the same document.

    Raises: Unparseable blocked.
    """
    document = guarded(parsed, config.pii)
    return finished(document, repetition.left_out(doc_id, line_keys(document.text)))


def finished(document: Parsed, left_out: Collection[int]) -> Parsed:
    """A guarded document without the lines that it is to be without, and with its language."""
    document = without_lines(document, left_out)
    declared = str(document.metadata.get("language") or "").replace("_", "-")
    language = language_of(document.text) or declared.partition("-")[0].lower()
    metadata = {**document.metadata, "language": language}
    if not language:
        del metadata["language"]
    return replace(document, metadata=metadata)
