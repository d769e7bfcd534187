"""Another machine: a process with a working directory of its own, which may die at a step."""

import multiprocessing
import os
import resource
import signal
from datetime import timedelta
from pathlib import Path

from rag_assets.config import S3Config
from rag_assets.errors import RagError
from rag_assets.mirror import INDEX, Mirror
from rag_assets.mirror.bucket import Bucket
from rag_assets.sources.journal import Journal
from rag_assets.sources.kept import Event, Kept
from rag_assets_tests.sources.draining import dies_after

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload([__name__, "obstore", "obstore.store"])


def _act(
    what: str, settings: dict, directory: str, step: tuple[str, int, bool] | None, said
) -> None:
    if step is not None:
        name, count, before = step
        dies_after(Bucket, name, count, before=before)
    mirror = Mirror("s3://storage/kb", directory, S3Config(**settings))
    try:
        if what == "work":  # slowly: until something is written to the pipe
            with mirror.working(lasts=0.6):
                said.send("at work")
                said.recv()
                Path(directory, "lake", "x").write_text("of the slow one")
            said.send("published")
        elif what == "pull with a full disk":
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            said.send(mirror.pull(INDEX))
        elif what == "collect":
            said.send(mirror.collect(timedelta(0)))
        else:
            said.send(getattr(mirror, what)())
    except RagError as error:
        said.send(f"{type(error).__name__}: {error}")


def start(what: str, settings: dict, directory: object, step=None):
    """Start a machine; (process, pipe to it)."""
    here, there = context.Pipe()
    process = context.Process(target=_act, args=(what, settings, str(directory), step, there))
    process.start()
    there.close()
    return process, here


def killed(what: str, settings: dict, directory: object, step) -> None:
    """Let a machine do something and die by SIGKILL at a step of its bucket."""
    process, _ = start(what, settings, directory, step)
    process.join()
    assert process.exitcode == -signal.SIGKILL, "the step was not reached"


def suspend(process) -> None:
    os.kill(process.pid, signal.SIGSTOP)


def resume(process) -> None:
    os.kill(process.pid, signal.SIGCONT)


def _take_in(settings: dict, directory: str, step: tuple[str, int, bool]) -> None:
    journal = Journal(Bucket("s3://storage/kb", S3Config(**settings)), "s")
    name, count, before = step
    kept = Kept(directory, "s", journal)
    kept.follow()
    dies_after(Journal, name, count - 1, before=before)
    kept.apply([Event("y", 1, data=b"2")])


def killed_taking_in(settings: dict, directory: object, step: tuple[str, int, bool]) -> None:
    """Let a machine take in the second batch of a journal and die."""
    process = context.Process(target=_take_in, args=(settings, str(directory), step))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "the step was not reached"
