"""What every source promises, as tests.

A source passes by subclassing `SourceContract` and giving it a `world` fixture: the place its
documents come from, which the tests write to and break. `ReachesTheSearch` takes the same world
through whole refreshes.
"""

from contextlib import AbstractContextManager
from typing import Protocol

import polars as pl
import pytest

from rag_assets.config import InboxConfig, KnowledgeBaseConfig, SourceConfig
from rag_assets.errors import RagError, SourceError
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.records import RAW_DOCUMENTS
from rag_assets.refresh.doctor import examine_source
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.refresh.plan import plan_refresh
from rag_assets.sources import Entry, Source, open_source
from rag_assets.sources.collect import compare, list_source

_ANY = InboxConfig(name="any", type="inbox")
NAMES = ("alpha", "beta", "gamma", "delta")


class World(Protocol):
    """The other side of a source."""

    def config(self) -> SourceConfig:
        """What a knowledge base says to read it."""

    def put(self, name: str, text: str) -> None:
        """Write or replace a document; `name` is a plain word."""

    def delete(self, name: str) -> None:
        """Remove a document."""

    def broken(self) -> AbstractContextManager[object]:
        """While it lasts, the listing cannot be read to its end."""


def opened(world: World) -> Source:
    """A source made anew, as another process would make it."""
    return open_source(world.config())


def name_in(text: str) -> str:
    """The name of the document that a key or an id is of."""
    (name,) = [name for name in NAMES if name in text]
    return name


def listing(world: World) -> dict[str, Entry]:
    """The entries of a scan by the name of the document in them."""
    entries = list(opened(world).scan())
    keys = [entry.key for entry in entries]
    assert len(keys) == len(set(keys))
    for entry in entries:
        assert entry.key
        assert entry.uri
        assert entry.token
        for text in (entry.key, entry.uri, entry.name, entry.token):
            text.encode()  # no lone surrogates: every string can be stored
    return {name_in(entry.key): entry for entry in entries}


def doctor_says(world: World, folder: object) -> str:
    """What `rag-assets doctor` finds of the source. Raises: RagError."""
    config = world.config()
    base = KnowledgeBaseConfig(name="kb", storage=str(folder), sources=[_ANY])
    base = base.model_copy(update={"sources": [config]})
    return examine_source(Pipeline(base), config.name)


class SourceContract:
    """Every document listed once with a token; tokens move with the bytes; no half listings."""

    def test_every_document_is_listed_and_can_be_fetched(self, world):
        world.put("alpha", "The first text.")
        world.put("beta", "Zweiter Text: ä, 漢字.")
        entries = listing(world)
        source = opened(world)
        list(source.scan())
        assert sorted(entries) == ["alpha", "beta"]
        assert "The first text." in source.fetch(entries["alpha"]).decode()
        assert "Zweiter Text: ä, 漢字." in source.fetch(entries["beta"]).decode()

    def test_a_source_made_anew_can_fetch_what_another_one_listed(self, world):
        world.put("alpha", "The first text.")
        entry = listing(world)["alpha"]
        assert "The first text." in opened(world).fetch(entry).decode()

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
        assert {n: e.key for n, e in before.items()} == {n: e.key for n, e in after.items()}
        assert "TWO" in opened(world).fetch(after["beta"]).decode()

    def test_what_is_added_appears(self, world):
        world.put("alpha", "one")
        assert sorted(listing(world)) == ["alpha"]
        world.put("gamma", "three")
        assert sorted(listing(world)) == ["alpha", "gamma"]

    def test_a_listing_that_breaks_off_is_an_error(self, world):
        for name in ("alpha", "beta", "gamma"):
            world.put(name, f"text of {name}")
        with world.broken(), pytest.raises(SourceError) as caught:
            list(opened(world).scan())
        assert "nothing of" in str(caught.value)
        assert sorted(listing(world)) == ["alpha", "beta", "gamma"]

    def test_the_doctor_tells_how_it_stands(self, world, tmp_path):
        if world.config().may_be_empty:
            assert doctor_says(world, tmp_path) == "no documents yet"
        else:
            with pytest.raises(RagError, match="lists no documents"):
                doctor_says(world, tmp_path)
        for name in ("alpha", "beta", "gamma"):
            world.put(name, f"text of {name}")
        assert doctor_says(world, tmp_path) == "3 documents"
        with world.broken(), pytest.raises(RagError, match="nothing of"):
            doctor_says(world, tmp_path)
        assert doctor_says(world, tmp_path) == "3 documents"


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
        source = opened(world)
        list(source.scan())
        with pytest.raises((SourceError, OSError)):
            source.fetch(entry)

    def test_an_empty_listing_holds_every_document(self, world):
        world.put("alpha", "one")
        world.put("beta", "two")
        config = world.config()
        before = list_source(config, open_source(config))
        for name in ("alpha", "beta"):
            world.delete(name)
        found = compare(config, list_source(config, opened(world)), as_snapshot(before))
        assert (found.listed, found.gone) == (0, [])
        assert found.held == before["doc_id"].to_list()
        assert "lists nothing" in str(found.why_held)


def as_snapshot(listed: pl.DataFrame) -> pl.DataFrame:
    """A listing as the rows that a refresh keeps of it."""
    added = {"content_hash": "x", "held": False, "digest": "x", "attributes": "x"}
    return listed.with_columns(**{name: pl.lit(value) for name, value in added.items()}).select(
        RAW_DOCUMENTS.names()
    )


TEXTS = {
    "alpha": "The grey heron waits without moving in the shallow water below the mill.",
    "beta": "Tickets for the evening ferry are sold at the blue kiosk until seven.",
    "gamma": "Sourdough bread needs a long night in a cool and quiet cellar.",
}
NEW_TEXT = "Tickets for the night train are printed at home and shown on the platform."


class ReachesTheSearch:
    """Insert, edit, delete at the source, refresh, search: it shows exactly that, and only new
    texts are embedded.

    left: what is there once `alpha` was deleted.
    """

    left = ("beta", "gamma")

    def test_what_happens_at_the_source_is_what_the_search_shows(self, world, small):
        read_by(small, world)
        world.put("alpha", TEXTS["alpha"])
        world.put("beta", TEXTS["beta"])
        receipt = small.refresh()
        assert (receipt["promoted"], receipt["documents"]["added"]) == (True, 2)
        assert receipt["embeddings"]["computed"] == 2
        assert shown(small) == {"alpha": TEXTS["alpha"], "beta": TEXTS["beta"]}

        world.put("gamma", TEXTS["gamma"])
        world.put("beta", NEW_TEXT)
        world.delete("alpha")
        read_by(small, world)
        receipt = small.refresh()
        counts = receipt["documents"]
        gone = 3 - len(self.left)
        assert (counts["added"], counts["changed"], counts["deleted"]) == (1, 1, gone)
        assert (receipt["promoted"], receipt["embeddings"]["computed"]) == (True, 2)
        texts = {**TEXTS, "beta": NEW_TEXT}
        assert shown(small) == {name: texts[name] for name in self.left}

        refresher = small.refresher()
        assert plan_refresh(refresher.pipeline).empty


def read_by(small, world) -> None:
    """Let a knowledge base read a world, and nothing else."""
    said = world.config().model_dump(mode="json", exclude_unset=True)
    small.configure(sources=[{**said, "buckets": 1, "delete_guard": 1.0}])


def shown(small) -> dict[str, str]:
    """Every document that a search finds by the name in it, with the text that it shows."""
    hits = KnowledgeBase.open(small.path).search("where and when?", k=20)
    found = {name_in(hit.doc_id): hit.text for hit in hits}
    assert len(found) == len(hits)
    known = [*TEXTS.values(), NEW_TEXT]
    return {name: next(t for t in known if t in text) for name, text in found.items()}
