"""The real client against a server that speaks its protocol."""

from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

pytest.importorskip("pymongo")

from bson import ObjectId

from rag_assets.config import MongodbConfig
from rag_assets.errors import SourceError
from rag_assets.sources import open_source
from rag_assets.sources.kept import Kept
from rag_assets_tests.sources import mongo_server
from rag_assets_tests.sources.contract import DeletingSourceContract, ReachesTheSearch


@pytest.fixture
def mongo():
    with mongo_server.serving() as server:
        yield server


class Collection:
    def __init__(self, mongo, root):
        self.mongo = mongo
        self.root = root

    def config(self, **settings):
        url = self.mongo.url.replace("reader:hunter2@", "").replace("&authSource=none", "")
        chosen = {"url": url, "database": "kb", "collection": "notes", "path": str(self.root)}
        return MongodbConfig(name="m", type="mongodb", **chosen | settings)

    def source(self, **settings):
        return open_source(self.config(**settings))

    def texts(self, **settings):
        source = self.source(**settings)
        return {entry.key: source.fetch(entry).decode() for entry in source.scan()}

    def put(self, name, text):
        if name in self.mongo.documents:
            self.mongo.update(name, text=text)
        else:
            self.mongo.insert(name, text=text)

    def delete(self, name):
        self.mongo.delete(name)

    @contextmanager
    def broken(self):
        self.mongo.down = True
        yield
        self.mongo.down = False


@pytest.fixture
def collection(mongo, tmp_path):
    return Collection(mongo, tmp_path)


class TestMongodb(DeletingSourceContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, collection):
        return collection


def test_what_only_mongodb_knows_is_written_as_text(collection):
    identity = ObjectId("65f0c0ffee65f0c0ffee65f0")
    sent = datetime(2026, 5, 1, tzinfo=UTC)
    team = {"name": "ops", "of": ObjectId("65f0c0ffee65f0c0ffee65f1")}
    collection.mongo.insert(identity, text="jam", sent=sent, team=team)
    fields = {"text": "{text} of {team.of}", "metadata_fields": ["sent", "team.name"]}
    [entry] = collection.source(**fields).scan()
    assert entry.key == str(identity)
    assert entry.metadata == {"sent": "2026-05-01T00:00:00", "team.name": "ops"}
    assert collection.source(**fields).fetch(entry) == b"jam of 65f0c0ffee65f0c0ffee65f1"


def test_a_look_reads_what_changed_and_not_the_collection(collection):
    for number in range(7):
        collection.put(f"d{number}", "text")
    assert len(collection.texts()) == 7
    collection.mongo.commands.clear()
    collection.put("d3", "other")
    collection.delete("d4")
    changed = {**{f"d{number}": "text" for number in (0, 1, 2, 5, 6)}, "d3": "other"}
    assert collection.texts(batch=1) == changed
    assert "find" not in collection.mongo.commands


def test_lost_history_means_that_everything_is_read_again(collection):
    collection.put("a", "one")
    collection.put("b", "two")
    collection.texts()
    collection.put("a", "ONE")
    collection.delete("b")
    collection.mongo.first = len(collection.mongo.log)
    assert collection.texts() == {"a": "ONE"}
    collection.put("b", "again")
    assert collection.texts() == {"a": "ONE", "b": "again"}


def test_a_dropped_collection_is_looked_at_anew(collection):
    collection.put("a", "one")
    collection.texts()
    collection.mongo.drop()
    collection.put("b", "two")
    assert collection.texts() == {"b": "two"}
    collection.put("b", "TWO")
    assert collection.texts() == {"b": "TWO"}


def test_an_update_of_what_is_deleted_meanwhile(collection):
    collection.put("a", "one")
    collection.texts()
    collection.put("a", "two")
    collection.delete("a")
    assert collection.texts() == {}


def test_a_batch_that_cannot_be_kept_is_seen_again(collection, monkeypatch):
    collection.put("a", "one")
    collection.texts()
    collection.put("b", "two")

    def failing(self, events, position=None, **more):
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Kept, "apply", failing)
        with pytest.raises(RuntimeError):
            collection.texts()
    assert collection.texts() == {"a": "one", "b": "two"}


def test_failures_do_not_show_the_password(collection, mongo):
    collection.mongo.down = True
    assert "hunter2" not in repr(collection.config(url=mongo.url))
    with pytest.raises(
        SourceError, match=r"kb\.notes cannot be followed.*nothing of the"
    ) as caught:
        collection.texts(url=mongo.url)
    assert "hunter2" not in str(caught.value)
