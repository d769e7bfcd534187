"""The queue source against a real RabbitMQ server."""

import json
import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from rag_assets.config import QueueConfig
from rag_assets.errors import SourceError
from rag_assets.sources import open_source
from rag_assets.sources.kept import Kept
from rag_assets_tests.sources import rabbitmq
from rag_assets_tests.sources.contract import DeletingSourceContract, ReachesTheSearch

pika = pytest.importorskip("pika")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if not rabbitmq.available():
        assert not os.environ.get("CI"), rabbitmq.WHY_NOT
        pytest.skip(rabbitmq.WHY_NOT)
    with rabbitmq.serving(tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url


class Broker:
    def __init__(self, url, root):
        self.url = url
        self.root = root
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        for queue in ("documents", "documents.dead"):
            self.channel.queue_delete(queue)
        self.config(declare=True)
        list(self.source(declare=True).scan())

    def config(self, **settings):
        chosen = {"queue": "documents", "url": self.url, "path": str(self.root)} | settings
        return QueueConfig(name="q", type="queue", **chosen)

    def source(self, **settings):
        return open_source(self.config(**settings))

    def send(self, message_id="", body=None, **said):
        body = json.dumps(said).encode() if body is None else body
        properties = pika.BasicProperties(message_id=message_id or None, delivery_mode=2)
        self.channel.basic_publish("", "documents", body, properties, mandatory=True)

    def waiting(self, queue="documents"):
        return self.channel.queue_declare(queue, passive=True).method.message_count

    def dead(self, expected):
        """The message ids in the dead-letter queue, where the server moves them by and by."""
        found, deadline = [], time.monotonic() + 30
        while len(found) < expected and time.monotonic() < deadline:
            method, properties, _ = self.channel.basic_get("documents.dead", auto_ack=True)
            if method is None:
                self.connection.sleep(0.02)
            else:
                found.append(properties.message_id)
        assert self.waiting("documents.dead") == 0
        return sorted(found)


@pytest.fixture
def broker(server, tmp_path):
    broker = Broker(server, tmp_path)
    yield broker
    broker.connection.close()


class QueueWorld:
    def __init__(self, broker):
        self.broker = broker
        self.versions = 0

    def config(self):
        return self.broker.config()

    def put(self, name, text):
        self.versions += 1
        self.broker.send(id=name, version=self.versions, text=text)

    def delete(self, name):
        self.versions += 1
        self.broker.send(id=name, version=self.versions, op="delete")

    @contextmanager
    def broken(self):
        url = self.broker.url
        self.broker.url = url.replace("guest:guest", "guest:wrong")
        yield
        self.broker.url = url


class TestQueue(DeletingSourceContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, broker):
        return QueueWorld(broker)


def test_messages_are_let_go_when_they_are_kept(broker):
    for number in range(25):
        broker.send(id=f"d{number}", version=1, text="x")
    assert len(list(broker.source(batch=10).scan())) == 25
    assert broker.waiting() == 0
    assert len(list(Kept(broker.root, "q").entries())) == 25


def test_poison_goes_to_the_dead_letter_queue_with_its_reason(broker):
    broker.send("m1", id="a", version=1, text="good")
    broker.send("m2", body=b"no json")
    # A lone surrogate passes as JSON and cannot be written.
    broker.send("m3", body=b'{"id": "b", "version": 1, "text": "x", "title": "\\ud800"}')
    broker.send("m4", id="c", version=1, text="good too")
    assert [entry.key for entry in broker.source().scan()] == ["a", "c"]
    reasons = {x.name: x.reason for x in Kept(broker.root, "q").dead_letters()}
    assert sorted(reasons) == ["m2", "m3"]
    assert "not JSON" in reasons["m2"]
    assert "surrogates" in reasons["m3"]
    assert broker.dead(2) == ["m2", "m3"]
    assert broker.waiting() == 0


def test_failures_name_the_queue_and_not_the_password(broker):
    with pytest.raises(SourceError, match=r"queue 'nowhere' at 127\.0\.0\.1.*nothing of"):
        list(broker.source(queue="nowhere").scan())
    wrong = broker.url.replace("guest:guest", "guest:hunter2")
    assert "hunter2" not in repr(broker.config(url=wrong))
    with pytest.raises(SourceError) as caught:
        list(broker.source(url=wrong).scan())
    assert "hunter2" not in str(caught.value)


STEPS = ["received", "before commit", "committed", "buried", "rejected", "acknowledged"]


def drain(broker, step="none", count=1):
    command = [sys.executable, "-m", "rag_assets_tests.sources.draining"]
    return subprocess.run(
        [*command, broker.url, str(broker.root), step, str(count)],
        check=False,
        capture_output=True,
        timeout=120,
    )


def test_kills_between_every_two_steps_lose_nothing(broker):
    """Events shuffled, some twice, some of them poison; a kill at each step, then to the end."""
    count, chance = 3000, random.Random(7)
    wanted, messages = {}, []
    for number in range(count):
        key, deleted = f"d{chance.randrange(count // 5)}", chance.random() < 0.1
        said = {"id": key, "version": number, **({"op": "delete"} if deleted else {})}
        said |= {} if deleted else {"text": f"text {number}"}
        wanted[key] = None if deleted else said["text"].encode()
        messages.append((f"m{number}", json.dumps(said).encode()))
    messages += chance.sample(messages, count // 20)
    poison = [f"p{number}" for number in range(7)]
    messages += [(name, b"{" + name.encode()) for name in poison]
    chance.shuffle(messages)
    for name, body in messages:
        broker.send(name, body=body)
    for number, step in enumerate(STEPS):
        assert drain(broker, step, 1 + number % 2).returncode == -9, step
    ended = drain(broker)
    assert ended.returncode == 0, ended.stderr
    kept = Kept(broker.root, "q")
    found = {entry.key: kept.read(entry.key) for entry in kept.entries()}
    assert found == {key: text for key, text in wanted.items() if text is not None}
    assert broker.dead(len(poison)) == poison
    assert sorted(letter.name for letter in kept.dead_letters()) == sorted(poison)
    assert broker.waiting() == 0


def test_a_forgotten_document_is_not_kept_again(broker):
    broker.send("m1", id="a", version=1, text="Quaxolotl")
    broker.send("m2", id="b", version=1, text="rest")
    assert len(list(broker.source().scan())) == 2
    assert broker.source().forget("a")
    broker.send("m1", id="a", version=1, text="Quaxolotl")
    assert [entry.key for entry in broker.source().scan()] == ["b"]
    assert broker.waiting() == 0
    files = [path for path in broker.root.rglob("*") if path.is_file()]
    assert not any(b"Quaxolotl" in path.read_bytes() for path in files)
