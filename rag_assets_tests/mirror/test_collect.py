"""What nothing refers to any more leaves the bucket, and nothing else does."""

from datetime import timedelta

import pytest

from rag_assets.errors import Busy
from rag_assets.mirror.bucket import Bucket
from rag_assets_tests.mirror import machine as other
from rag_assets_tests.mirror.test_mirror import held, write
from rag_assets_tests.sources import moto_server

NOTHING = timedelta(0)


def keys(bucket, folder):
    found = bucket.list_objects_v2(Bucket="storage", Prefix=f"kb/{folder}/").get("Contents", [])
    return {item["Key"] for item in found}


def test_what_is_live_and_what_was_lately_stays(machine, bucket):
    first, here = machine("a")
    for text in ("1", "2", "3"):
        write(here, lake__x=text, lake__same="same")
        first.push()
    assert (len(keys(bucket, "objects")), len(keys(bucket, "listings"))) == (4, 3)
    assert first.collect() == 0
    assert first.collect(NOTHING) == 4
    assert (len(keys(bucket, "objects")), len(keys(bucket, "listings"))) == (2, 1)
    second, there = machine("b")
    second.pull()
    assert held(there) == {"lake/x", "lake/same"}
    write(here, lake__x="4")
    assert first.push()


def test_a_state_is_kept_for_as_long_as_its_readers_may_take(machine, bucket, monkeypatch):
    first, here = machine("a")
    write(here, lake__x="1")
    first.push()
    write(here, lake__x="2")
    first.push()
    before = keys(bucket, "objects")
    modified = Bucket.parts

    def long_ago(self):
        for name, item in modified(self):
            yield name, type(item)(item.path, item.size, item.modified - timedelta(days=30))

    # An object that was put long ago but replaced just now may be read at this moment.
    monkeypatch.setattr(Bucket, "parts", long_ago)
    assert first.collect() == 0
    assert keys(bucket, "objects") == before
    assert first.collect(NOTHING) == 2


def test_who_is_about_to_publish_is_turned_away(machine):
    (first, here), (second, there) = machine("a"), machine("b")
    write(here, lake__x="1")
    first.push()
    write(here, lake__x="2")
    first.push()
    second.pull()
    write(there, lake__x="1")
    first.collect(NOTHING)
    with pytest.raises(Busy, match="another machine published"):
        second.push()
    write(there, lake__x="1")
    assert second.push()
    first.pull()
    assert (here / "lake" / "x").read_text() == "1"


def test_other_objects_of_the_bucket_are_let_alone(machine, bucket):
    first, here = machine("a")
    write(here, lake__x="1")
    first.push()
    for key in ("kb/notes.txt", "kb2/objects/ab/cd", "objects/ab/cd"):
        bucket.put_object(Bucket="storage", Key=key, Body=b"mine")
    first.collect(NOTHING)
    every = {item["Key"] for item in bucket.list_objects_v2(Bucket="storage")["Contents"]}
    assert {"kb/notes.txt", "kb2/objects/ab/cd", "objects/ab/cd"} <= every


@pytest.mark.parametrize("step", [("put_head", 1, False), ("delete", 1, True)])
def test_killed_between_its_steps_it_is_finished_by_the_next(machine, bucket, server, step):
    first, here = machine("a", keep=NOTHING)
    for text in ("1", "2"):
        write(here, lake__x=text)
        first.push()
    settings = moto_server.settings(server)
    other.killed("collect", settings, machine("b")[1], step)
    second, there = machine("c")
    second.pull()
    assert (there / "lake" / "x").read_text() == "2"
    assert second.collect(NOTHING) == 2
    assert (len(keys(bucket, "objects")), len(keys(bucket, "listings"))) == (1, 1)
    third, there = machine("d")
    third.pull()
    assert (there / "lake" / "x").read_text() == "2"


@pytest.mark.parametrize(
    "step",
    [
        ("put_part", 1, True),
        ("put_part", 2, False),
        ("put_listing", 1, False),
        ("put_head", 1, True),
    ],
)
def test_a_publisher_killed_at_any_step_leaves_the_state_before(machine, bucket, server, step):
    first, here = machine("a")
    write(here, lake__x="1", lake__y="1")
    first.push()
    second, there = machine("b")
    second.pull()
    write(there, lake__x="2x", lake__y="2y", lake__z="2z")
    other.killed("push", moto_server.settings(server), there, step)
    third, elsewhere = machine("c")
    third.pull()
    assert {(elsewhere / "lake" / n).read_text() for n in ("x", "y")} == {"1"}
    write(elsewhere, lake__x="3")
    third.push()
    third.collect(NOTHING)
    assert len(keys(bucket, "objects")) == 2
    fourth, last = machine("d")
    fourth.pull()
    assert held(last) == {"lake/x", "lake/y"}


def test_a_publisher_killed_after_its_last_step_has_published(machine, server):
    first, here = machine("a")
    write(here, lake__x="1")
    other.killed("push", moto_server.settings(server), here, ("put_head", 1, False))
    second, there = machine("b")
    second.pull()
    assert (there / "lake" / "x").read_text() == "1"
    # It does not know that it has: what it finds is what it wanted to publish.
    with pytest.raises(Busy):
        first.push()
    assert (here / "lake" / "x").read_text() == "1"
    assert not first.push()
