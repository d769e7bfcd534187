"""What event sources could not take in: to look at, to try again, to let go of."""

from collections.abc import Iterator

from rag_assets.config import KnowledgeBaseConfig, SourceConfig
from rag_assets.config.streams import EventSource
from rag_assets.sources.kept import Kept
from rag_assets.sources.kept_rows import DeadLetter
from rag_assets.sources.message import event_of


def dead_letters(config: KnowledgeBaseConfig) -> Iterator[tuple[str, DeadLetter]]:
    """(source, what it could not take in) of all event sources, oldest first within one."""
    for source in config.sources:
        if isinstance(source, EventSource):
            for letter in kept_of(source).dead_letters():
                yield source.name, letter


def kept_of(source: SourceConfig) -> Kept:
    """The kept documents of an event source."""
    assert isinstance(source, EventSource)
    return Kept.at(source, source.name)


def try_again(source: SourceConfig, letter: DeadLetter) -> str | None:
    """Take a dead letter in, if that goes now; None then, else why it still does not.

    An older event than what is kept of its document changes nothing, as always.
    """
    if letter.body is None:
        return letter.reason
    kept = kept_of(source)
    try:
        kept.settle(letter.name, event_of(letter.body))
    except (ValueError, OverflowError) as error:
        return str(error)
    return None
