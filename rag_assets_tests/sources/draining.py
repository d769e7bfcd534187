"""One look at a queue, by a process that kills itself at a step; arguments: URL PATH STEP COUNT,
and the `s3:` section in JSON where the storage is in a bucket.
"""

import itertools
import json
import os
import signal
import sys

from rag_assets.config import QueueConfig, S3Config
from rag_assets.sources.journal import Journal
from rag_assets.sources.kept import Kept
from rag_assets.sources.queue import QueueSource


def dies_after(owner, name, count, *, before=False):
    """Make the count-th call of a method the last thing this process does."""
    original, calls = getattr(owner, name), itertools.count(1)

    def dying(*args, **kwargs):
        number = next(calls)  # of any thread
        if before and number == count:
            os.kill(os.getpid(), signal.SIGKILL)
        found = original(*args, **kwargs)
        if number == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(owner, name, dying)


JOURNAL_STEPS = {"before journal": (Journal, "append", True), "journal": (Journal, "append", False)}


def carried(config, path, s3):
    """The configuration with its storage in a bucket, where there is one."""
    return config.placed(path, "s3://storage/kb", S3Config(**json.loads(s3))) if s3 else config


def main(url, path, step, count, s3=""):
    from pika.adapters.blocking_connection import BlockingChannel

    places = JOURNAL_STEPS | {
        "received": (QueueSource, "_received", False),
        "before commit": (Kept, "apply", True),
        "committed": (Kept, "apply", False),
        "buried": (Kept, "bury", False),
        "rejected": (BlockingChannel, "basic_reject", False),
        "acknowledged": (BlockingChannel, "basic_ack", False),
    }
    if step in places:
        owner, name, before = places[step]
        dies_after(owner, name, int(count), before=before)
    config = QueueConfig(name="q", type="queue", url=url, queue="documents", batch=100, path=path)
    print(sum(1 for _ in QueueSource(carried(config, path, s3)).scan()))


if __name__ == "__main__":
    main(*sys.argv[1:])
