"""One machine works on a storage at a time."""

import threading

import pytest

from rag_assets.errors import Busy
from rag_assets_tests.mirror import machine as other
from rag_assets_tests.mirror.test_mirror import held, write
from rag_assets_tests.sources import moto_server


def test_who_comes_second_waits_and_goes_on_from_the_first(machine, server):
    first, here = machine("a")
    write(here, lake__x="1")
    first.push()
    process, pipe = other.start("work", moto_server.settings(server), machine("b")[1])
    assert pipe.recv() == "at work"
    with pytest.raises(Busy, match="is at work on it; waited"), first.working(patience=0.2):
        pytest.fail("two machines at once")
    timer = threading.Timer(0.8, pipe.send, ["go on"])  # longer than the lease lasts unrenewed
    timer.start()
    with first.working(lasts=0.6):
        assert (here / "lake" / "x").read_text() == "of the slow one"
    assert pipe.recv() == "published"
    process.join()


def test_who_went_silent_is_refused_when_it_comes_back(machine, server):
    (first, here), (_, there) = machine("a"), machine("b")
    write(here, lake__x="1")
    first.push()
    process, pipe = other.start("work", moto_server.settings(server), there)
    assert pipe.recv() == "at work"
    other.suspend(process)
    with first.working(lasts=0.6):
        # Refused already now, before anything new is published.
        other.resume(process)
        pipe.send("go on")
        assert pipe.recv().startswith("Busy: s3://storage/kb: another machine published")
        process.join()
        write(here, lake__x="2")
    second, elsewhere = machine("c")
    second.pull()
    assert (elsewhere / "lake" / "x").read_text() == "2"


def test_a_machine_that_died_goes_on_at_once(machine, server):
    _, here = machine("a")
    process, pipe = other.start("work", moto_server.settings(server), here)
    assert pipe.recv() == "at work"
    process.kill()
    process.join()
    with machine("a")[0].working(patience=0):
        write(here, lake__x="1")
    second, there = machine("b")
    second.pull()
    assert held(there) == {"lake/x"}
