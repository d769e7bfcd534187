"""Erasure reaches the bucket, its older versions, and the working directories of other machines."""

import json
import sqlite3
from contextlib import closing, suppress
from functools import partial
from io import BytesIO

import polars as pl
import pytest
from botocore.exceptions import ClientError

from rag_assets.config import AuditConfig
from rag_assets.defs.execute import failure
from rag_assets.errors import StorageError
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.mirror import Bucket
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.service.audit import AuditLog
from rag_assets.service.erased import take_out_erased
from rag_assets_tests.conftest import document
from rag_assets_tests.refresh.test_forget import PERSON, erase, needles, traces
from rag_assets_tests.sources import moto_server


def decoded(data):
    """What an object or file may mean: its bytes, and what they decode to where they are whole."""
    yield data
    if data.startswith(b"PAR1") and data.endswith(b"PAR1"):
        yield repr(pl.read_parquet(BytesIO(data)).rows()).encode()
    if data.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(":memory:")) as base, suppress(sqlite3.DatabaseError):
            base.deserialize(data)
            yield "\n".join(base.iterdump()).encode()


def objects_with(s3, mirror, words):
    """Objects of the bucket, in all versions, and files of the newest state that hold any of
    these."""
    found = []
    for page in s3.get_paginator("list_object_versions").paginate(Bucket="storage"):
        for item in page.get("Versions", []):
            chosen = {"Key": item["Key"], "VersionId": item["VersionId"]}
            data = s3.get_object(Bucket="storage", **chosen)["Body"].read()
            if any(word in meant for meant in decoded(data) for word in words):
                found.append(item["Key"])
    newest = mirror.bucket.listing(mirror.bucket.head().listing)
    for path, stored in newest.items():
        data = b"".join(map(mirror.bucket.part, stored.parts))
        if any(word in meant for meant in decoded(data) for word in words):
            found.append(path)
    return found


@pytest.fixture
def on(small, server):
    def placed(name):
        return small.configure(
            storage="s3://storage/kb",
            working_directory=f"./{name}",
            s3=moto_server.settings(server),
        )

    return placed


def test_nothing_is_left_in_the_bucket_and_on_other_machines(small, on, bucket):
    versioned = {"Status": "Enabled"}
    bucket.put_bucket_versioning(Bucket="storage", VersioningConfiguration=versioned)
    on("first")
    small.fill(2)
    small.write("person.md", PERSON.format(nickname="Brimblewick"))
    small.refresh()
    small.write("person.md", PERSON.format(nickname="Zindelfarne"))
    small.refresh()
    wanted = needles(small)
    with KnowledgeBase(on("reader")) as reader:
        question = "Where does Quaxolotl live?"
        log = AuditLog(reader.config.storage, AuditConfig())
        reader.on_pull = partial(take_out_erased, log, reader.config.storage)
        [hit] = reader.search(question, k=1)
        assert hit.doc_id == "docs/person.md"
        log.append({"question": question, "chunk_ids": [hit.chunk_id]})
        log.append({"question": "Who fixes my laptop?", "chunk_ids": ["another"]})
        assert reader.search(question, k=1, version=1)[0].doc_id == "docs/person.md"
        on("second")
        small.write("laptop.md", document("laptop", 1))
        assert small.refresh()["live_version"] == 3
        mirror = Pipeline(on("second")).mirror
        held = {key.split("/")[0] for key in objects_with(bucket, mirror, wanted)}
        assert held == {"kb", "lake", "embeddings", "index"}
        assert traces(small.root / "reader", wanted)
        on("first")
        erasure = erase(small)
        assert erasure.removed["object_versions"] > 0
        assert [place.split(",")[0] for place in erasure.left] == [
            "working directories of other machines"
        ]
        assert objects_with(bucket, mirror, wanted) == []
        reader._follower.pull()
        for version in (None, 1, 2):
            hits = reader.search(question, k=5, version=version)
            assert hits
            assert all(hit.doc_id != "docs/person.md" for hit in hits)
    assert traces(small.root / "reader", wanted) == []
    assert (log.verify().lines, log.verify().problem) == (3, None)
    assert "Who fixes my laptop?" in next(log.directory.glob("*.jsonl")).read_text()
    # The machine that published in between pulls, and its source still has the document.
    on("second")
    receipt = small.refresh(full=True)
    assert failure(receipt) is None
    assert (receipt["documents"]["listed"], receipt["embeddings"]["computed"]) == (3, 0)
    assert traces(small.root / "second", wanted) == []
    assert objects_with(bucket, mirror, wanted) == []
    told = [json.loads(p.read_text()) for p in (small.root / "second" / "erasures").glob("*.json")]
    assert [receipt["id"] for receipt in told] == [erasure.id]


def test_versions_that_may_not_be_removed_are_told(server, bucket, monkeypatch, on):
    def refused(self, operation, settings):
        error = {"Error": {"Code": "AccessDenied", "Message": "no"}}
        raise ClientError(error, operation)

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", refused)
    config = on("a")
    with pytest.raises(
        StorageError, match="allow s3:ListBucketVersions and s3:DeleteObjectVersion"
    ):
        Pipeline(config).mirror.bucket.purge()
    with pytest.raises(StorageError, match="let a rule of the bucket"):
        Bucket("gs://storage/kb").purge()
