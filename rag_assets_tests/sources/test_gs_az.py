"""gs:// and az:// of the `files` source, by their clients' own protocols.

Google Cloud Storage answers in S3's XML beside its own JSON, and the client reads by the former:
the small S3 server answers it. Azure's server is Microsoft's emulator.
"""

from contextlib import contextmanager

import obstore
import pytest
from obstore.store import from_url

from rag_assets.config import FilesConfig
from rag_assets_tests.sources import azurite, s3_server
from rag_assets_tests.sources.contract import DeletingSourceContract, ReachesTheSearch


class AzureWorld:
    """Blobs below kb/; a container that is not there cannot be listed."""

    def __init__(self):
        self.place = "az://docs/kb"
        self.store = from_url(self.place)

    def config(self):
        return FilesConfig(name="s", type="files", path=self.place)

    def put(self, name, text):
        obstore.put(self.store, f"{name}.md", text.encode())

    def delete(self, name):
        obstore.delete(self.store, f"{name}.md")

    @contextmanager
    def broken(self):
        place, self.place = self.place, self.place.replace("docs", "nowhere")
        yield
        self.place = place


class TestGoogle(DeletingSourceContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, monkeypatch):
        with s3_server.serving() as bucket:
            told = {"BASE_URL": bucket.url, "SKIP_SIGNATURE": "true", "ALLOW_HTTP": "true"}
            for name, value in told.items():
                monkeypatch.setenv(f"GOOGLE_{name}", value)
            yield s3_server.World(bucket, "gs://docs/kb")


class TestAzure(DeletingSourceContract, ReachesTheSearch):
    @pytest.fixture(scope="class")
    def server(self):
        if not azurite.available():
            pytest.skip(azurite.WHY_NOT)
        with azurite.serving("docs") as environment:
            yield environment

    @pytest.fixture
    def world(self, server, monkeypatch):
        for name, value in server.items():
            monkeypatch.setenv(name, value)
        world = AzureWorld()
        yield world
        for page in obstore.list(world.store):
            for meta in page:
                obstore.delete(world.store, meta["path"])
