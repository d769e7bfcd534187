"""Dagster's launcher for ECS and the Lambda, against AWS as moto serves it."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from rag_assets_tests.conftest import SmallBase, document
from rag_assets_tests.sources import moto_server

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with moto_server.serving() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.setenv(name, "us-east-1")
        for name, value in moto_server.KEYS.items():
            monkeypatch.setenv(name.upper(), value)
        yield url


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_a_run_is_a_fargate_task_of_its_own(aws: str) -> None:
    ec2, ecs = moto_server.client("ec2", aws), moto_server.client("ecs", aws)
    moto_server.client("s3", aws).create_bucket(Bucket="your-bucket")
    ecs.create_cluster(clusterName="rag")
    text = (DEPLOY / "ecs" / "dagster.yaml").read_text(encoding="utf-8")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    settings = yaml.safe_load(text.replace("subnet-11112222", subnet))
    assert set(settings.pop("storage")) == {"postgres"}  # the server is another test's

    origin = RepositoryPythonOrigin(
        "python3",
        ModuleCodePointer("rag_assets.definitions", "defs"),
        container_image="registry.example.org/rag-assets:0.1.0",
    )
    location = RegisteredCodeLocationOrigin("rag_assets")
    remote = RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "handbook_refresh")
    with dg.instance_for_test(overrides=settings) as instance:
        run = instance.create_run_for_job(
            dg.GraphDefinition("handbook_refresh", node_defs=[]).to_job(),
            job_code_origin=JobPythonOrigin("handbook_refresh", origin),
            remote_job_origin=remote,
        )
        # moto wants memory of containers, which Fargate takes from the task: seen, not sent.
        sent: list[dict[str, Any]] = []

        task = {"taskArn": "task/1", "clusterArn": "cluster/rag"}

        def answer(params: dict[str, Any], **_: object) -> tuple[Any, dict[str, Any]]:
            sent.append(json.loads(params["body"]))
            return SimpleNamespace(status_code=200), {"tasks": [task]}

        launcher = instance.run_launcher
        launcher.ecs.meta.events.register_first("before-call.ecs.RunTask", answer)
        launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
        tagged = instance.get_run_by_id(run.run_id)

    assert tagged is not None
    assert tagged.tags["ecs/task_arn"] == "task/1"
    [request] = sent
    assert (request["cluster"], request["launchType"]) == ("rag", "FARGATE")
    network = request["networkConfiguration"]["awsvpcConfiguration"]
    assert (network["subnets"], network["assignPublicIp"]) == ([subnet], "DISABLED")
    [container] = request["overrides"]["containerOverrides"]
    assert container["command"][:5] == ["python3", "-m", "dagster", "api", "execute_run"]
    definition = ecs.describe_task_definition(taskDefinition=request["taskDefinition"])
    made = definition["taskDefinition"]
    [image] = made["containerDefinitions"]
    assert image["image"] == "registry.example.org/rag-assets:0.1.0"
    assert {"name": "RAG_CONFIG", "value": "/config/knowledge_base.yaml"} in image["environment"]
    assert [secret["name"] for secret in image["secrets"]] == ["DAGSTER_POSTGRES_URL"]
    assert made["taskRoleArn"].endswith("/rag-refresh")
    assert (made["cpu"], made["memory"]) == ("2048", "8192")


def test_the_instance_of_ecs_is_one_that_dagster_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every key of the file, PostgreSQL too: it is parsed, and nothing is connected to."""
    from dagster._core.instance.ref import InstanceRef

    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql+psycopg2://dagster@127.0.0.1:9/dagster")
    for path in (DEPLOY / "ecs" / "dagster.yaml", DEPLOY / "dagster.yaml"):
        home = tmp_path / path.parent.name
        home.mkdir()
        (home / "dagster.yaml").write_text(path.read_text(encoding="utf-8"))
        found = InstanceRef.from_dir(str(home))
        assert found.settings["run_retries"]["retry_on_asset_or_op_failure"] is False
        assert found.run_storage_data.class_name == "PostgresRunStorage"
        assert found.compute_logs_data is not None
        assert found.compute_logs_data.rehydrate(object) is not None


@pytest.mark.full
def test_a_lambda_searches_the_storage_in_s3(
    aws: str, small: SmallBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto_server.client("s3", aws).create_bucket(Bucket="lambda")
    small.write("payroll.md", document("payroll"))
    small.configure(storage="s3://lambda/kb", working_directory="./builder")
    assert small.refresh()["promoted"]
    small.configure(working_directory=str(tmp_path / "lambda"))
    monkeypatch.setenv("RAG_CONFIG", str(small.path))

    spec = importlib.util.spec_from_file_location("handler", DEPLOY / "lambda" / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    handler = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(handler)
    found = handler.search({"query": "Who answers requests concerning payroll?", "k": 1})
    assert found["index_version"] == 1
    assert [hit["doc_id"] for hit in found["hits"]] == ["docs/payroll.md"]
    handler._knowledge_base().close()
