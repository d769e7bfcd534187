"""A bucket that tells its changes to a queue, as moto serves both."""

import json
from contextlib import contextmanager

import pytest

pytest.importorskip("moto")

from rag_assets.config import FilesConfig, S3Config, SqsConfig
from rag_assets.errors import SourceError
from rag_assets.sources import open_source
from rag_assets.sources.kept import Kept
from rag_assets_tests.sources import moto_server
from rag_assets_tests.sources.contract import DeletingSourceContract, ReachesTheSearch


@pytest.fixture(scope="module")
def server():
    with moto_server.serving() as url:
        yield url


class Bucket:
    """Objects below kb/ of a bucket whose notifications go to a queue."""

    def __init__(self, url, root):
        self.url = url
        self.root = root
        self.s3, self.sqs = moto_server.client("s3", url), moto_server.client("sqs", url)
        self.s3.create_bucket(Bucket="docs")
        self.queue = self.sqs.create_queue(QueueName="changes")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])
        told = {"QueueArn": arn["Attributes"]["QueueArn"], "Events": ["s3:ObjectCreated:*"]}
        gone = {**told, "Events": ["s3:ObjectRemoved:*"]}
        self.s3.put_bucket_notification_configuration(
            Bucket="docs", NotificationConfiguration={"QueueConfigurations": [told, gone]}
        )

    def config(self, **settings):
        events = SqsConfig(queue_url=self.queue, endpoint_url=self.url, path=str(self.root))
        s3 = S3Config(**moto_server.settings(self.url))
        chosen = {"path": "s3://docs/kb", "s3": s3, "events": events} | settings
        return FilesConfig(name="s", type="files", **chosen)

    def source(self, **settings):
        return open_source(self.config(**settings))

    def put(self, name, text):
        self.s3.put_object(Bucket="docs", Key=f"kb/{name}.md", Body=text.encode())

    def delete(self, name):
        self.s3.delete_object(Bucket="docs", Key=f"kb/{name}.md")

    @contextmanager
    def broken(self):
        config = self.config
        self.config = lambda: config(path="s3://nowhere/kb")
        yield
        self.config = config


@pytest.fixture
def bucket(server, tmp_path):
    found = Bucket(server, tmp_path)
    yield found
    for item in found.s3.list_objects_v2(Bucket="docs").get("Contents", []):
        found.s3.delete_object(Bucket="docs", Key=item["Key"])
    found.s3.delete_bucket(Bucket="docs")
    found.sqs.delete_queue(QueueUrl=found.queue)


def test_changes_are_what_the_named_objects_are_now(bucket):
    bucket.put("a", "one")
    bucket.put("a b+ä", "two")
    bucket.s3.put_object(Bucket="docs", Key="other/c.md", Body=b"outside")
    begin = bucket.source().changes(None).cursor
    bucket.put("a", "ONE")
    bucket.put("a", "One")
    bucket.delete("a b+ä")
    bucket.put("d", "three")
    bucket.s3.put_object(Bucket="docs", Key="kb/image.png", Body=b"not chosen")
    found = bucket.source(include=["**/*.md"]).changes(begin)
    assert sorted(entry.key for entry in found.entries) == ["a.md", "d.md"]
    assert sorted(found.deleted) == ["a b+ä.md", "image.png"]
    listed = {entry.key: entry for entry in bucket.source().scan()}
    assert {entry.key: entry for entry in found.entries}["a.md"] == listed["a.md"]
    assert bucket.source().fetch(listed["a.md"]) == b"One"
    assert bucket.source().changes(found.cursor).entries == []
    assert bucket.source(include=["**/*.md"]).changes(begin) == found


def test_names_are_kept_before_the_queue_forgets_them(bucket, monkeypatch):
    begin = bucket.source().changes(None).cursor
    bucket.put("a", "one")

    def failing(self, events, position=None, **more):
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Kept, "apply", failing)
        with pytest.raises(RuntimeError):
            bucket.source().changes(begin)
    attributes = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    left = bucket.sqs.get_queue_attributes(QueueUrl=bucket.queue, AttributeNames=attributes)
    assert sum(int(left["Attributes"][name]) for name in attributes) > 0


def test_messages_that_are_no_notifications_do_no_harm(bucket):
    begin = bucket.source().changes(None).cursor
    record = {"s3": {"bucket": {"name": "docs"}, "object": {"key": "kb/sns.md"}}}
    through_sns = {"Type": "Notification", "Message": json.dumps({"Records": [record]})}
    for body in ("no json", "[]", '{"Event": "s3:TestEvent"}', json.dumps(through_sns)):
        bucket.sqs.send_message(QueueUrl=bucket.queue, MessageBody=body)
    assert bucket.source().changes(begin).deleted == ["sns.md"]


def test_many_changes_are_a_listing(bucket, monkeypatch):
    monkeypatch.setattr("rag_assets.sources.remote._MOST_ASKED", 2)
    begin = bucket.source().changes(None).cursor
    for name in "abc":
        bucket.put(name, name)
    assert bucket.source().changes(begin) is None


def test_a_queue_that_cannot_be_read_is_told(bucket):
    events = SqsConfig(queue_url=bucket.queue + "-none", endpoint_url=bucket.url, path="x")
    with pytest.raises(SourceError, match="nothing of the source was changed") as caught:
        bucket.source(events=events).changes(None)
    assert "secretexample" not in str(caught.value)


class TestS3OfMoto(DeletingSourceContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, bucket):
        return bucket
