"""Storage in S3: two machines with working directories of their own."""

import shutil
import threading
from datetime import timedelta

import pytest

from rag_assets.config import S3Config
from rag_assets.errors import Busy, StorageError
from rag_assets.mirror import INDEX, Bucket, Follower, Mirror
from rag_assets_tests.mirror import machine as other
from rag_assets_tests.sources import moto_server, s3_server


def write(directory, **files):
    for name, text in files.items():
        path = directory / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def held(directory):
    names = (p.relative_to(directory) for p in directory.rglob("*") if p.is_file())
    return {str(name) for name in names if not name.name.startswith(".")}


def test_what_one_machine_publishes_another_one_pulls(machine):
    (first, here), (second, there) = machine("a"), machine("b")
    assert not second.pull()
    write(here, lake__x="1", lake__y="2", embeddings__m__s="3", dagster__db="own", lake__z="4")
    assert first.push()
    assert not first.push()
    assert second.pull()
    assert not second.pull()
    assert held(there) == {"lake/x", "lake/y", "lake/z", "embeddings/m/s"}
    (there / "lake" / "y").unlink()
    write(there, lake__x="one")
    assert second.push()
    assert first.pull()
    assert held(here) == {"lake/x", "lake/z", "embeddings/m/s", "dagster/db"}
    assert (here / "lake" / "x").read_text() == "one"


def test_only_what_is_new_is_sent(machine, bucket):
    first, here = machine("a")
    write(here, lake__x="1", lake__y="2")
    first.push()
    write(here, lake__x="one")
    first.push()
    names = [o["Key"] for o in bucket.list_objects_v2(Bucket="storage")["Contents"]]
    assert sum("/objects/" in name for name in names) == 3
    assert sum("/listings/" in name for name in names) == 2


def test_of_two_publishers_one_wins_and_the_other_has_its_state(machine):
    (first, here), (second, there) = machine("a"), machine("b")
    write(here, lake__x="1")
    first.push()
    second.pull()
    write(here, lake__x="first")
    write(there, lake__x="second", lake__y="more")
    assert first.push()
    with pytest.raises(Busy, match="another machine published"):
        second.push()
    assert (there / "lake" / "x").read_text() == "first"
    assert held(there) == {"lake/x"}
    write(there, lake__x="second")
    assert second.push()


def test_the_head_is_put_on_condition(machine, monkeypatch):
    (first, here), (second, there) = machine("a"), machine("b")
    write(here, lake__x="1")
    write(there, lake__x="2")
    put = Bucket.put_listing

    def overtaken(self, files):
        monkeypatch.setattr(Bucket, "put_listing", put)
        assert first.push()
        return put(self, files)

    monkeypatch.setattr(Bucket, "put_listing", overtaken)
    with pytest.raises(Busy):
        second.push()
    assert (there / "lake" / "x").read_text() == "1"


def test_sealed_versions_are_published_as_they_were_sealed(machine):
    (first, here), (second, there) = machine("a"), machine("b")
    write(here, index__000001__MANIFEST="x", index__000002__half="half built")
    write(here, **{"index__000001__chroma__rows": "1", "index__000001__MANIFEST.json": "{}"})
    write(here, **{"index__LIVE.json": '{"version": 1}'})
    first.push()
    write(here, index__000001__chroma__rows="1, and a row about having been opened")
    assert not first.push()
    second.pull(INDEX)
    assert (there / "index/000001/chroma/rows").read_text() == "1"
    assert not (there / "index/000002").exists()
    (there / "index/000001/chroma/rows").write_text("opened here too")
    write(here, **{"index__000003__MANIFEST.json": "{3}", "index__LIVE.json": '{"version": 3}'})
    write(here, index__000003__chroma__rows="1")
    first.push()
    second.pull(INDEX)
    # Not from the first version's file here, which says something else than it did when sealed.
    assert (there / "index/000003/chroma/rows").read_text() == "1"
    assert (there / "index/000001/chroma/rows").read_text() == "opened here too"
    assert (there / "index/LIVE.json").read_text() == '{"version": 3}'


def test_damage_and_failures_leave_what_is_here(machine, bucket, server):
    (first, here), (second, there) = machine("a"), machine("b")
    write(here, lake__x="1")
    first.push()
    second.pull()
    write(here, lake__x="2")
    first.push()
    for item in bucket.list_objects_v2(Bucket="storage", Prefix="kb/objects/")["Contents"]:
        bucket.put_object(Bucket="storage", Key=item["Key"], Body=b"noise")
    with pytest.raises(StorageError, match="is damaged"):
        second.pull()
    assert (there / "lake" / "x").read_text() == "1"
    wrong = Mirror("s3://nowhere/kb", there, S3Config(**moto_server.settings(server)))
    with pytest.raises(StorageError, match="s3://nowhere/kb: cannot be") as caught:
        wrong.push()
    assert "secretexample" not in str(caught.value)


def test_a_small_change_of_a_large_file_sends_and_brings_the_part_it_is_in(
    machine, bucket, monkeypatch
):
    (first, here), (second, there) = machine("a"), machine("b")
    write(here, lake__x="")
    data = bytes(range(256)) * 1024 + b"a" * (1 << 18) + b"b" * (1 << 18) + b"the end"
    (here / "lake" / "x").write_bytes(data)
    first.push()
    second.pull()
    assert (there / "lake" / "x").read_bytes() == data
    changed = data[: 1 << 18] + b"A" + data[(1 << 18) + 1 :]
    (here / "lake" / "x").write_bytes(changed)
    first.push()
    names = [o["Key"] for o in bucket.list_objects_v2(Bucket="storage")["Contents"]]
    assert sum("/objects/" in name for name in names) == 4 + 1
    brought = []
    part = Bucket.part
    monkeypatch.setattr(Bucket, "part", lambda self, name: brought.append(name) or part(self, name))
    kept = bytearray(data)
    kept[-1] = 0
    (there / "lake" / "x").write_bytes(kept)
    second.pull()
    assert (there / "lake" / "x").read_bytes() == changed
    assert len(brought) == 2


def test_a_version_that_was_built_anew_under_its_number_is_brought_anew(machine):
    (first, here), (second, there) = machine("a"), machine("b")
    write(here, **{"index__000001__rows": "secret", "index__000001__MANIFEST.json": "{1}"})
    write(here, **{"index__000002__rows": "2", "index__000002__MANIFEST.json": "{2}"})
    write(here, **{"index__LIVE.json": "2"})
    first.push()
    second.pull(INDEX)
    write(there, index__000001__extra="made by opening it")
    write(here, **{"index__000001__rows": "rest", "index__000001__MANIFEST.json": "{1, anew}"})
    first.push()
    second.pull(INDEX)
    assert (there / "index/000001/rows").read_text() == "rest"
    assert not (there / "index/000001/extra").exists()
    assert (there / "index/000002/rows").read_text() == "2"


def test_an_erased_version_goes_even_where_there_is_no_room_for_the_new_one(machine, monkeypatch):
    (first, here), (second, there) = machine("a"), machine("b")
    for number in ("1", "2"):
        write(here, **{f"index__00000{number}__rows": f"secret {number}"})
        write(here, **{f"index__00000{number}__MANIFEST.json": number})
    write(here, **{"index__LIVE.json": "2"})
    first.push()
    second.pull(INDEX)
    write(here, index__000001__rows="rest", index__000003__rows="rest")
    write(here, **{"index__000001__MANIFEST.json": "1, anew", "index__000003__MANIFEST.json": "3"})
    write(here, **{"index__LIVE.json": "3"})
    shutil.rmtree(here / "index" / "000002")
    first.push()

    def full(self, name):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "part", full)
        with pytest.raises(StorageError, match="No space left on device"):
            second.pull(INDEX)
    # What is live here stays until its successor is here.
    kept = {"index/LIVE.json", "index/000002/rows", "index/000002/MANIFEST.json"}
    assert held(there) == kept
    second.pull(INDEX)
    assert held(there) == held(here)


def test_vectors_that_the_loser_paid_for_are_kept_unless_something_was_erased(machine):
    (first, here), (second, there) = machine("a"), machine("b")
    write(here, embeddings__m__base="1", lake__x="1")
    first.push()
    second.pull()
    write(here, lake__x="2")
    first.push()
    write(there, embeddings__m__mine="2", lake__x="lost")
    with pytest.raises(Busy):
        second.push()
    assert held(there) == {"embeddings/m/base", "embeddings/m/mine", "lake/x"}
    assert second.push()
    first.pull()
    assert (here / "embeddings/m/mine").exists()
    write(here, **{"forgotten.json": "{}"})
    first.push()
    write(there, embeddings__m__more="3")
    second.pull()
    assert held(there) == {"embeddings/m/base", "embeddings/m/mine", "lake/x", "forgotten.json"}


def test_readers_bring_versions_and_token_vectors(machine):
    (first, here), (second, there) = machine("a"), machine("b")
    write(here, lake__x="1", index__promotions="2", embeddings__m__m__vectors="3")
    write(here, **{"embeddings__m__m__tokens-1.sqlite3": "4", "forgotten.json": "{}"})
    first.push()
    second.pull(INDEX)
    assert held(there) == {
        "index/promotions",
        "embeddings/m/m/tokens-1.sqlite3",
        "forgotten.json",
    }


def test_a_reader_that_pulls_while_others_publish_and_tidy_sees_whole_versions(machine):
    (first, here), (second, there) = machine("a", keep=timedelta(0)), machine("b")
    ended, errors, seen = threading.Event(), [], set()

    def publish():
        for number in range(1, 13):
            shutil.rmtree(here / f"index/{number - 2:06d}", ignore_errors=True)
            folder = f"index__{number:06d}__"
            write(here, **{f"{folder}{n}": f"{n} of {number}" for n in "abc"})
            write(here, **{f"{folder}MANIFEST.json": str(number), "index__LIVE.json": str(number)})
            first.push()
            first.collect()
        ended.set()

    publisher = threading.Thread(target=publish)
    publisher.start()
    last = False
    while not last:
        last = ended.is_set()
        try:
            second.pull(INDEX)
        except StorageError as error:  # what it was about to get was collected; the next one works
            errors.append(str(error))
        if (there / "index" / "LIVE.json").exists():
            live = int((there / "index" / "LIVE.json").read_text())
            found = {p.name: p.read_text() for p in (there / f"index/{live:06d}").iterdir()}
            whole = {n: f"{n} of {live}" for n in "abc"} | {"MANIFEST.json": str(live)}
            assert found == whole
            seen.add(live)
    publisher.join()
    assert max(seen) == 12
    assert all("is gone" in error for error in errors)
    assert held(there) == {name for name in held(here) if name.startswith("index/")}


def test_a_full_disk_leaves_what_is_here_and_says_so(machine, server):
    (first, here), (_, there) = machine("a"), machine("b")
    write(here, index__promotions="1", **{"index__LIVE.json": "1"})
    first.push()
    settings = moto_server.settings(server)
    process, pipe = other.start("pull with a full disk", settings, there)
    assert pipe.recv() is True
    process.join()
    write(here, index__promotions="2" * 5000, **{"index__LIVE.json": "2"})
    first.push()
    process, pipe = other.start("pull with a full disk", settings, there)
    told = pipe.recv()
    process.join()
    assert told.startswith(f"StorageError: {there}: s3://storage/kb cannot be read, because the")
    assert "make room" in told
    assert (there / "index" / "LIVE.json").read_text() == "1"
    assert not list((there / "index").glob(".*"))


def test_a_reader_whose_bucket_is_away_serves_what_it_has(machine, tmp_path):
    _, here = machine("a")
    gone = S3Config(**moto_server.settings("http://127.0.0.1:9"))
    lost = Mirror("s3://storage/kb", tmp_path / "new", gone)
    with pytest.raises(StorageError, match="check the address, the credentials and the endpoint"):
        Follower(lost, tmp_path / "new").start()
    write(here, **{"index__LIVE.json": "1"})
    follower = Follower(Mirror("s3://storage/kb", here, gone), here)
    follower.start()
    follower.stop()
    assert (here / "index" / "LIVE.json").read_text() == "1"
    with pytest.raises(StorageError, match="s3://storage/kb: cannot be leased"), lost.working():
        pytest.fail("nobody can tell who else is at work")


def test_a_follower_leaves_a_running_refresh_alone(machine):
    from filelock import FileLock

    (first, here), (second, there) = machine("a"), machine("b")
    write(here, index__promotions="x")
    first.push()
    follower = Follower(second, there)
    there.mkdir()
    with FileLock(there / ".refresh.lock"):
        assert not follower.pull()
    assert follower.pull()


def test_a_server_that_ignores_conditions_is_refused(machine, tmp_path):
    first, here = machine("a")
    assert first.examine() == "s3://storage/kb: can be written, 0 states published"
    with s3_server.serving() as server:
        keys = {**moto_server.KEYS, "region_name": "us-east-1"}
        ignoring = Mirror("s3://storage/kb", here, S3Config(endpoint_url=server.url, **keys))
        write(here, lake__x="1")
        for attempt in (ignoring.push, ignoring.examine):
            with pytest.raises(StorageError, match="does not honour conditional puts"):
                attempt()
        assert not any("HEAD" in key for key in server.objects)
    gone = Mirror("s3://nowhere/kb", here, S3Config(**moto_server.settings("http://127.0.0.1:9")))
    with pytest.raises(StorageError, match="cannot be used"):
        gone.examine()
