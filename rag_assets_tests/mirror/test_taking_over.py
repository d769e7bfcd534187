"""Queues and tables with the storage in a bucket: every look by another machine, most are killed.

No working directory is used twice: what a machine knew is in the bucket or gone.
"""

import json
import os
import random
import subprocess
import sys

import pytest

pytest.importorskip("moto")
pytest.importorskip("pika")
pytest.importorskip("pg8000")

from rag_assets.config import S3Config
from rag_assets.mirror import Bucket
from rag_assets.sources.journal import Journal
from rag_assets.sources.kept import Kept
from rag_assets_tests.sources import moto_server, postgres, rabbitmq
from rag_assets_tests.sources.test_postgres_cdc import Table
from rag_assets_tests.sources.test_queue import Broker


class Machines:
    """A process for each look, with a directory of its own."""

    def __init__(self, module, url, s3, root):
        self.command = [sys.executable, "-m", f"rag_assets_tests.sources.{module}", url]
        self.s3, self.root, self.count = s3, root, 0

    def look(self, step="none", count=1):
        self.count += 1
        folder = self.root / f"machine-{self.count}"
        arguments = [str(folder), step, str(count), json.dumps(self.s3)]
        ended = subprocess.run(
            [*self.command, *arguments], check=False, capture_output=True, timeout=120
        )
        assert ended.returncode == (0 if step == "none" else -9), (step, ended.stderr)

    def kept(self, source):
        """What yet another machine finds in the bucket."""
        journal = Journal(Bucket("s3://storage/kb", S3Config(**self.s3)), source)
        found = Kept(self.root / "reader", source, journal)
        found.follow()
        return found


@pytest.fixture
def machines(server, bucket, tmp_path):
    return lambda module, url: Machines(module, url, moto_server.settings(server), tmp_path)


def skip_unless(there, why):
    if not there:
        assert not os.environ.get("CI"), why
        pytest.skip(why)


@pytest.fixture
def broker(tmp_path):
    skip_unless(rabbitmq.available(), rabbitmq.WHY_NOT)
    with rabbitmq.serving(tmp_path / "rabbitmq") as url:
        found = Broker(url, tmp_path / "first")
        yield found
        found.connection.close()


@pytest.fixture
def table(tmp_path):
    skip_unless(postgres.available(), "PostgreSQL is not installed: apt-get install postgresql")
    with postgres.serving(tmp_path / "postgres", "-c wal_level=logical") as url:
        found = Table(url, tmp_path / "first")
        yield found
        found.drop_slot()
        found.base.close()


def test_no_message_is_lost_whichever_machine_dies_when(broker, machines):
    chance, wanted, messages = random.Random(11), {}, []
    for number in range(900):
        key, deleted = f"d{chance.randrange(150)}", chance.random() < 0.1
        said = {"id": key, "version": number, **({"op": "delete"} if deleted else {})}
        said |= {} if deleted else {"text": f"text {number}"}
        wanted[key] = None if deleted else said["text"].encode()
        messages.append((f"m{number}", json.dumps(said).encode()))
    poison = [f"p{number}" for number in range(3)]
    messages += [*chance.sample(messages, 50), *((name, b"{" + name.encode()) for name in poison)]
    chance.shuffle(messages)
    for name, body in messages:
        broker.send(name, body=body)
    farm = machines("draining", broker.url)
    for step in ("received", "before journal", "journal", "committed", "acknowledged"):
        farm.look(step)
    farm.look()
    kept = farm.kept("q")
    found = {entry.key: kept.read(entry.key) for entry in kept.entries()}
    assert found == {key: text for key, text in wanted.items() if text is not None}
    assert broker.dead(len(poison)) == poison
    assert sorted(letter.name for letter in kept.dead_letters()) == poison
    assert broker.waiting() == 0


def test_no_change_is_lost_whichever_machine_dies_when(table, machines):
    chance, wanted = random.Random(12), {}
    farm = machines("following", table.url)
    steps = [("before journal", 1), ("journal", 1), ("journal", 2), ("looked", 5)]
    steps += [("before journal", 2), ("committed", 1), ("advanced", 1), ("none", 1)]
    for step, count in steps:
        for number in range(120):
            table.change(chance, 40, f"{step} {count} {number}", wanted)
        farm.look(step, count)
    kept = farm.kept("c")
    assert {e.key: kept.read(e.key).decode() for e in kept.entries()} == wanted
