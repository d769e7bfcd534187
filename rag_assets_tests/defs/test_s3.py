"""A knowledge base in S3, reached through dagster-aws' `S3Resource`."""

import dagster as dg
import pytest

pytest.importorskip("moto")

from dagster_aws.s3 import S3Resource

from rag_assets.config import FilesConfig, S3Config
from rag_assets.defs.build import build_definitions
from rag_assets.errors import StorageError
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.object_stores import open_store
from rag_assets.sources import open_source
from rag_assets_tests.conftest import document
from rag_assets_tests.sources import moto_server, s3_server


@pytest.fixture
def server(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with moto_server.serving() as url:
        yield url


def test_a_run_of_the_assets_in_a_project_that_has_such_a_resource(small, server, monkeypatch):
    client = moto_server.client("s3", server)
    client.create_bucket(Bucket="company")
    for subject in ("payroll", "laptop"):
        client.put_object(Bucket="company", Key=f"docs/{subject}.md", Body=document(subject))
    for name, value in moto_server.settings(server).items():
        monkeypatch.setenv(f"HANDBOOK_{name}", value)
    small.configure(
        storage="s3://company/kb",
        working_directory="./here",
        sources=[{"name": "docs", "type": "files", "path": "s3://company/docs", "buckets": 2}],
    )
    s3 = S3Resource(**{n: dg.EnvVar(f"HANDBOOK_{n}") for n in moto_server.settings(server)})
    mine = dg.Definitions(resources={"s3": s3})
    defs = dg.Definitions.merge(mine, build_definitions(small.path, s3=s3))
    sensor = defs.resolve_sensor_def("small_source_changes")
    with dg.DagsterInstance.ephemeral() as instance:

        def tick():
            found = sensor(dg.build_sensor_context(instance=instance, definitions=defs))
            return getattr(found, "run_requests", None)

        [request] = tick()
        job = defs.resolve_job_def("small_refresh")
        assert job.execute_in_process(instance=instance, tags=request.tags).success
        assert not tick()
        assert defs.resolve_job_def("small_upkeep").execute_in_process(instance=instance).success
    elsewhere = small.configure(working_directory="./there", s3=moto_server.settings(server))
    with KnowledgeBase(elsewhere) as reader:
        found = reader.search("Who answers requests concerning payroll?", k=1)
        assert (found.index_version, found[0].doc_id) == (1, "docs/payroll.md")


@pytest.fixture
def objects():
    with s3_server.serving() as bucket:
        bucket.objects["a.md"] = b"# A"
        yield bucket


def asked_with(objects, **settings):
    """The headers of a listing that a source with these settings asks for."""
    s3 = S3Config(endpoint_url=objects.url, **settings)
    config = FilesConfig(name="f", type="files", path="s3://bucket", s3=s3)
    assert [entry.key for entry in open_source(config).scan()] == ["a.md"]
    return objects.headers[-1]


def test_keys_tokens_profiles_and_no_signature_at_all(objects, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    (tmp_path / "credentials").write_text(
        "[team]\naws_access_key_id = AKIATEAM\naws_secret_access_key = secret\n"
    )
    keys = {"aws_access_key_id": "AKIAMINE", "aws_secret_access_key": "secret"}
    mine = asked_with(objects, **keys, aws_session_token="for a while", region_name="eu-west-3")
    assert "Credential=AKIAMINE/" in mine["authorization"]
    assert "/eu-west-3/s3/" in mine["authorization"]
    assert mine["x-amz-security-token"] == "for a while"
    team = asked_with(objects, profile_name="team", region_name="eu-west-3")
    assert "Credential=AKIATEAM/" in team["authorization"]
    assert "authorization" not in asked_with(objects, use_unsigned_session=True)
    with pytest.raises(StorageError, match=r"s3\.profile_name: 'nobody' cannot be used"):
        open_store("s3://bucket", S3Config(profile_name="nobody"))
