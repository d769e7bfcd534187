import pytest

pytest.importorskip("moto")

from rag_assets.config import S3Config
from rag_assets.mirror import Mirror
from rag_assets_tests.sources import moto_server


@pytest.fixture(scope="session")
def server():
    with moto_server.serving() as url:
        yield url


@pytest.fixture
def bucket(server):
    s3 = moto_server.client("s3", server)
    s3.create_bucket(Bucket="storage")
    yield s3
    for page in s3.get_paginator("list_object_versions").paginate(Bucket="storage"):
        items = (*page.get("Versions", []), *page.get("DeleteMarkers", []))
        found = [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in items]
        if found:
            s3.delete_objects(Bucket="storage", Delete={"Objects": found})
    s3.delete_bucket(Bucket="storage")


@pytest.fixture
def machine(server, bucket, tmp_path):
    def made(name, **settings):
        directory = tmp_path / name
        config = S3Config(**moto_server.settings(server))
        return Mirror("s3://storage/kb", directory, config, **settings), directory

    return made
