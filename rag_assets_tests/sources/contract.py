"""What every source promises, as tests.

A source passes by subclassing `SourceContract` and giving it a `world` fixture: the place its
documents come from, which the tests write to and break.
"""

from contextlib import AbstractContextManager
from typing import Protocol

import pytest

from rag_assets.errors import SourceError
from rag_assets.sources import Entry, Source


class World(Protocol):
    """The other side of a source."""

    def source(self) -> Source:
        """A source made anew, as another process would make it."""

    def put(self, name: str, text: str) -> None:
        """Write or replace a document; `name` is a plain word."""

    def delete(self, name: str) -> None:
        """Remove a document."""

    def broken(self) -> AbstractContextManager[object]:
        """While it lasts, the listing cannot be read to its end."""


def listing(world: World) -> dict[str, Entry]:
    """The entries of a scan by the name of the document in them."""
    entries = list(world.source().scan())
    keys = [entry.key for entry in entries]
    assert len(keys) == len(set(keys))
    named = {}
    for entry in entries:
        assert entry.key
        assert entry.uri
        assert entry.token
        for text in (entry.key, entry.uri, entry.name, entry.token):
            text.encode()  # no lone surrogates: every string can be stored
        (name,) = [name for name in ("alpha", "beta", "gamma") if name in entry.key]
        named[name] = entry
    return named


class SourceContract:
    """Every document listed once with a token; tokens move with the bytes; no half listings."""

    def test_every_document_is_listed_and_can_be_fetched(self, world):
        world.put("alpha", "The first text.")
        world.put("beta", "Zweiter Text: ä, 漢字.")
        entries = listing(world)
        source = world.source()
        list(source.scan())
        assert sorted(entries) == ["alpha", "beta"]
        assert "The first text." in source.fetch(entries["alpha"]).decode()
        assert "Zweiter Text: ä, 漢字." in source.fetch(entries["beta"]).decode()

    def test_a_source_made_anew_can_fetch_what_another_one_listed(self, world):
        world.put("alpha", "The first text.")
        entry = listing(world)["alpha"]
        assert "The first text." in world.source().fetch(entry).decode()

    def test_nothing_changed_means_the_same_tokens(self, world):
        world.put("alpha", "one")
        world.put("beta", "two")
        first = {name: (e.key, e.token) for name, e in listing(world).items()}
        second = {name: (e.key, e.token) for name, e in listing(world).items()}
        assert first == second

    def test_an_edit_moves_the_token_of_that_document_alone(self, world):
        world.put("alpha", "one")
        world.put("beta", "two")
        before = listing(world)
        world.put("beta", "TWO")
        after = listing(world)
        moved = [name for name in before if before[name].token != after[name].token]
        assert moved == ["beta"]
        assert [e.key for e in before.values()] == [e.key for e in after.values()]
        assert "TWO" in world.source().fetch(after["beta"]).decode()

    def test_what_is_added_appears(self, world):
        world.put("alpha", "one")
        assert sorted(listing(world)) == ["alpha"]
        world.put("gamma", "three")
        assert sorted(listing(world)) == ["alpha", "gamma"]

    def test_a_listing_that_breaks_off_is_an_error(self, world):
        for name in ("alpha", "beta", "gamma"):
            world.put(name, f"text of {name}")
        with world.broken(), pytest.raises(SourceError) as caught:
            list(world.source().scan())
        assert "nothing of" in str(caught.value)
        assert sorted(listing(world)) == ["alpha", "beta", "gamma"]


class DeletingSourceContract(SourceContract):
    """Besides, for sources in which absence means that a document is gone."""

    def test_what_is_deleted_disappears(self, world):
        world.put("alpha", "one")
        world.put("beta", "two")
        listing(world)
        world.delete("beta")
        assert sorted(listing(world)) == ["alpha"]

    def test_what_is_gone_cannot_be_fetched(self, world):
        world.put("alpha", "one")
        world.put("beta", "two")
        entry = listing(world)["beta"]
        world.delete("beta")
        source = world.source()
        list(source.scan())
        with pytest.raises((SourceError, OSError)):
            source.fetch(entry)
