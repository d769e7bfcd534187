"""What sources keep, on two machines with a bucket between them."""

import random
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest

pytest.importorskip("pymongo")

from rag_assets.config import S3Config
from rag_assets.errors import StorageError
from rag_assets.mirror import Bucket
from rag_assets.sources import open_source
from rag_assets.sources.inbox import Inbox
from rag_assets.sources.journal import Journal, Overtaken
from rag_assets.sources.kept import Event, Kept
from rag_assets.sources.kept_rows import read_rows, unpacked
from rag_assets.sources.removed import collect_removed, removed_folders
from rag_assets_tests.mirror import machine as other
from rag_assets_tests.sources import mongo_server, moto_server


@pytest.fixture
def journal(server, bucket):
    return Journal(Bucket("s3://storage/kb", S3Config(**moto_server.settings(server))), "s")


@pytest.fixture
def kept(journal, tmp_path):
    return lambda name: Kept(tmp_path / name, "s", journal)


def texts(kept):
    return {entry.key: kept.read(entry.key) for entry in kept.entries()}


def objects(s3):
    """The bytes of every object, and the rows of those that are made of rows."""
    every = s3.list_objects_v2(Bucket="storage").get("Contents", [])
    bodies = [s3.get_object(Bucket="storage", Key=o["Key"])["Body"].read() for o in every]
    rows = [list(read_rows(unpacked(BytesIO(b)))) for b in bodies if b.startswith(b"\x1f\x8b")]
    return [*bodies, *(repr(some).encode() for some in rows)]


def test_another_machine_has_the_same_in_the_same_order(kept, monkeypatch):
    monkeypatch.setattr("rag_assets.sources.journal._SMALL", 600)
    rng = random.Random(5)
    machines = [kept(name) for name in "abc"]
    for number in range(25):
        one = rng.choice(machines)
        one.follow()
        some = rng.sample("klmnop", 3)
        events = [
            Event(
                key,
                rng.randrange(number, number + 9),
                rng.random() < 0.3,
                f"{key}{number}".encode(),
            )
            for key in some
        ]
        whole = rng.random() < 0.2
        one.apply(events, ("p", str(number)), whole=whole)
    for one in machines:
        one.follow()
    first = machines[0]
    assert len(texts(first)) > 1
    for one in (*machines[1:], new := kept("d")):
        one.follow()
        assert texts(one) == texts(first)
        assert one.changes("0") == first.changes("0")
        assert one.position("p") == "24"
    new.bury("x", "broken", b"?")
    first.follow()
    assert [(letter.name, letter.reason) for letter in first.dead_letters()] == [("x", "broken")]
    first.settle("x")
    new.follow()
    assert new.dead_letters() == []


def test_of_two_that_take_something_in_at_once_one_is_refused(kept):
    first, second = kept("a"), kept("b")
    first.apply([Event("x", 1, data=b"first")], ("p", "1"))
    with pytest.raises(Overtaken):
        second.apply([Event("y", 1, data=b"second")], ("p", "2"))
    assert (texts(second), second.position("p")) == ({}, None)
    second.follow()
    second.apply([Event("y", 1, data=b"second")], ("p", "2"))
    first.follow()
    assert texts(first) == {"x": b"first", "y": b"second"}


@pytest.mark.parametrize("step", [("append", 2, True), ("append", 2, False)])
def test_killed_before_and_after_the_journal_has_a_batch(kept, server, tmp_path, step):
    first = kept("a")
    first.apply([Event("x", 1, data=b"1")])
    other.killed_taking_in(moto_server.settings(server), tmp_path / "b", step)
    told = step[2] is False  # the journal has the second batch, the machine does not
    first.follow()
    assert texts(first) == ({"x": b"1", "y": b"2"} if told else {"x": b"1"})
    again = kept("b")
    again.follow()
    assert texts(again) == texts(first)
    assert again.changes("0") == first.changes("0")


def test_what_cannot_be_stored_is_in_no_journal(kept, bucket):
    first = kept("a")
    with pytest.raises(OverflowError):
        first.apply([Event("x", 1, data=b"fine"), Event("y", 1 << 70, data=b"not")])
    assert objects(bucket) == []
    first.apply([Event("x", 1, data=b"fine")])
    second = kept("b")
    second.follow()
    assert texts(second) == {"x": b"fine"}


def test_positions_alone_go_to_the_journal_seldom(kept, bucket, monkeypatch):
    first = kept("a")
    first.apply([Event("x", 1, data=b"1")], ("p", "1"))
    first.apply([], ("p", "2"))
    assert (kept("a").position("p"), len(objects(bucket))) == ("2", 3)
    monkeypatch.setattr("rag_assets.sources.kept._QUIET", 0.0)
    kept("a").apply([], ("p", "3"))
    second = kept("b")
    second.follow()
    assert second.position("p") == "3"


def test_what_was_kept_before_there_was_a_bucket_goes_there(kept, journal, tmp_path):
    Kept(tmp_path / "a", "s").apply([Event("x", 1, data=b"1")], ("p", "1"))
    first = kept("a")
    first.follow()
    first.apply([Event("y", 1, data=b"2")], ("p", "2"))
    second = kept("b")
    second.follow()
    assert texts(second) == {"x": b"1", "y": b"2"}


def test_a_forgotten_document_leaves_the_bucket_and_the_other_machines(kept, bucket, tmp_path):
    first, second = kept("a"), kept("b")
    first.apply([Event("x", 1, data=b"Quaxolotl"), Event("y", 1, data=b"rest")])
    second.follow()
    second.apply([Event("x", 2, data=b"Quaxolotl again")])
    assert any(b"Quaxolotl" in body for body in objects(bucket))
    assert first.forget("x")
    assert not any(b"Quaxolotl" in body for body in objects(bucket))
    second.follow()
    assert texts(second) == {"y": b"rest"}
    for file in (tmp_path / "b").iterdir():
        assert b"Quaxolotl" not in file.read_bytes()
    second.apply([Event("z", 1, data=b"more")])
    first.follow()
    assert texts(first) == {"y": b"rest", "z": b"more"}


def test_a_bucket_that_is_away_lets_nothing_be_acknowledged(kept, bucket, tmp_path):
    gone = S3Config(**moto_server.settings("http://127.0.0.1:9"))
    lost = Kept(tmp_path / "a", "s", Journal(Bucket("s3://storage/kb", gone), "s"))
    with pytest.raises(StorageError, match="cannot be written at s3://storage/kb"):
        lost.apply([Event("x", 1, data=b"1")])
    assert texts(lost) == {}


def test_a_bucket_that_was_put_back_is_told(kept, bucket):
    first, head = kept("a"), {"Bucket": "storage", "Key": "kb/kept/s/HEAD.json"}
    first.apply([Event("x", 1, data=b"1")])
    earlier = bucket.get_object(**head)["Body"].read()
    first.apply([Event("y", 1, data=b"2")])
    bucket.put_object(**head, Body=earlier)
    with pytest.raises(StorageError, match="goes up to batch 1, but batch 2 is here"):
        first.follow()
    bucket.delete_object(**head)
    first.follow()
    second = kept("b")
    second.follow()
    assert texts(second) == {"x": b"1", "y": b"2"}


@pytest.fixture
def mongo():
    with mongo_server.serving() as found:
        yield found


def test_a_change_stream_is_followed_by_two_machines_in_turn(small, server, bucket, mongo):
    url = mongo.url.replace("reader:hunter2@", "").replace("&authSource=none", "")

    def on(name):
        config = small.configure(
            storage="s3://storage/kb",
            working_directory=f"./{name}",
            s3=moto_server.settings(server),
            sources=[
                {
                    "name": "notes",
                    "type": "mongodb",
                    "url": url,
                    "database": "kb",
                    "collection": "notes",
                    "buckets": 1,
                }
            ],
        )
        return config.source("notes")

    def seen(name):
        source = open_source(on(name))
        return {entry.key: source.fetch(entry).decode() for entry in source.scan()}

    mongo.insert("a", text="jam")
    mongo.insert("b", text="butter")
    assert seen("here") == {"a": "jam", "b": "butter"}
    cursor = open_source(on("here")).changes(None).cursor
    mongo.update("a", text="honey")
    mongo.delete("b")
    mongo.commands.clear()
    # The cursor of a refresh on one machine holds on the other.
    found = open_source(on("there")).changes(cursor)
    assert ([entry.key for entry in found.entries], found.deleted) == (["a"], ["b"])
    assert "find" not in mongo.commands  # it went on where the first one was, and read nothing anew
    assert found == open_source(on("here")).changes(cursor)
    mongo.insert("c", text="milk")
    assert seen("here") == seen("there") == {"a": "honey", "c": "milk"}


def test_documents_pushed_on_one_machine_are_read_on_another(
    journal, bucket, tmp_path, monkeypatch
):
    monkeypatch.setattr("rag_assets.sources.journal._SMALL", 1500)
    service, pipeline = (Inbox(tmp_path / name, "s", journal) for name in "ab")

    def held(inbox):
        inbox.follow()
        return {entry.key: inbox.read(entry.key) for entry in inbox.entries()}

    for number in range(12):
        (service, pipeline)[number % 2].put(f"d{number % 5}", f"text {number}".encode())
    expected = {
        "d0": b"text 10",
        "d1": b"text 11",
        "d2": b"text 7",
        "d3": b"text 8",
        "d4": b"text 9",
    }
    assert held(service) == held(pipeline) == expected
    assert pipeline.delete("d0")
    assert not pipeline.delete("none")
    del expected["d0"]
    assert held(service) == held(Inbox(tmp_path / "c", "s", journal)) == expected
    assert service.erase("d1")
    del expected["d1"]
    assert not any(b"text 11" in body or b"text 6" in body for body in objects(bucket))
    assert held(pipeline) == held(Inbox(tmp_path / "c", "s", journal)) == expected
    assert not any(b"text 11" in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def test_what_a_removed_source_kept_waits_for_it_and_then_goes(small, server, bucket, tmp_path):
    inbox = {"type": "inbox", "buckets": 1}

    def configured(*names):
        sources = [{**inbox, "name": name} for name in names]
        s3 = moto_server.settings(server)
        return small.configure(
            storage="s3://storage/kb", working_directory="./here", s3=s3, sources=sources
        )

    def tidied(config, days):
        mirror = Bucket("s3://storage/kb", config.s3)
        return collect_removed(config, mirror, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days))

    def there():
        every = bucket.list_objects_v2(Bucket="storage", Prefix="kb/kept/").get("Contents", [])
        return {item["Key"].split("/")[2] for item in every}

    both = configured("a", "b")
    for name in ("a", "b"):
        Inbox.at(both.source(name), name).put("x", b"text")
    mine = small.root / "here" / "inbox" / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("not of a source")
    assert tidied(both, 0) == 0
    renamed = configured("a", "c")
    assert tidied(renamed, 0) == 0
    assert [path.name for path in removed_folders(renamed)] == ["b"]
    assert tidied(both, 29) == 0  # it is back
    assert tidied(renamed, 29) == 0
    assert [entry.key for entry in open_source(both.source("b")).scan()] == ["x"]
    assert tidied(renamed, 29) == 0
    assert tidied(renamed, 29 + 29) == 0
    assert tidied(renamed, 29 + 30) == 2  # here and in the bucket
    assert there() == {"a"}
    assert [entry.key for entry in open_source(both.source("a")).scan()] == ["x"]
    assert list(open_source(both.source("b")).scan()) == []
    assert (mine / "notes.txt").exists()
