"""`rag-assets serve` as a process: ports, workers, signals, and what it refuses."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from typer.testing import CliRunner, Result

from rag_assets.cli import service_commands  # noqa: F401
from rag_assets.cli.app import app
from rag_assets.service.principals import Allowance
from rag_assets_tests.answering.llm_server import llm_server
from rag_assets_tests.service.conftest import COUNTED_IN, Base, events, until_text

PROGRAM = [sys.executable, "-c", "from rag_assets.cli import main; main()"]
QUESTION = "Who answers requests concerning payroll?"


@contextmanager
def served(base: Base, *options: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """(address, process) of a service that has said where it listens."""
    command = [*PROGRAM, "serve", "--config", str(base.path), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        said = process.stdout.readline()
        yield re.search(r"http://[^\s\"]+", said)[0], process
    finally:
        process.terminate()
        process.communicate()


def test_sigterm_finishes_what_is_running(base: Base) -> None:
    with llm_server() as models:
        base.configure(llm={"model": "openai/held", "api_base": models.url, "api_key": "k"})
        with (
            served(base, "--json") as (url, process),
            httpx.Client(base_url=url, timeout=60) as client,
        ):
            body = {"question": QUESTION, "stream": True}
            with client.stream("POST", "/v1/answer", json=body) as reply:
                lines = reply.iter_lines()
                until_text(lines)
                process.send_signal(signal.SIGTERM)
                # Held until the service listens no more, which is when it has begun to drain.
                while True:
                    try:
                        httpx.get(f"{url}/healthz")
                    except httpx.TransportError:  # refused, or reset while it was let in
                        break
                models.release.set()
                rest = "\n".join(lines)
            assert process.wait(60) == 0
    assert events("event: text\n" + rest)[-1][0] == "answer"
    assert [line["outcome"] for line in base.audit()] == ["completed"]


@pytest.mark.parametrize("counters", [COUNTED_IN[-1]], indirect=True)
def test_several_workers_are_one_service(base: Base, counters: str) -> None:
    """One address, one audit log, one count of requests, one sum of metrics; and all drain."""
    _, secret = base.keys.create("app", allowance=Allowance(requests_per_minute=12))
    headers = {"Authorization": f"Bearer {secret}"}
    with llm_server() as models:
        base.configure(
            llm={"model": "openai/held", "api_base": models.url, "api_key": "k"},
            service={"limits": {"storage": counters}},
        )
        with (
            served(base, "--workers", "2") as (url, process),
            httpx.Client(base_url=url, timeout=60, headers=headers) as client,
            client.stream(
                "POST", "/v1/answer", json={"question": QUESTION, "stream": True}
            ) as held,
        ):
            lines = held.iter_lines()
            until_text(lines)

            def searched() -> int:
                # A new connection may be taken by either worker.
                body = {"query": "a"}
                reply = httpx.post(f"{url}/v1/search", json=body, headers=headers, timeout=60)
                return reply.status_code

            assert [searched() for _ in range(11)] == [200] * 11
            metrics = httpx.get(f"{url}/metrics", headers=headers).text
            assert 429 in [searched() for _ in range(4)]
            process.send_signal(signal.SIGTERM)
            draining = False
            while not draining:
                try:
                    httpx.get(f"{url}/healthz", timeout=0.5)
                except httpx.TransportError:
                    draining = True
            models.release.set()
            rest = "\n".join(lines)
            assert process.wait(60) == 0
    assert events("event: text\n" + rest)[-1][0] == "answer"
    assert 'rag_request_seconds_count{endpoint="/v1/search",status="200"} 11.0' in metrics
    found = base.audit()
    assert [line["number"] for line in found] == list(range(1, len(found) + 1))
    assert {line["outcome"] for line in found} == {"completed"}


def called(base: Base, *words: str) -> Result:
    """A command in this process."""
    return CliRunner().invoke(app, [*words, "--config", str(base.path)])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "203.0.113.9"])
def test_it_is_closed_to_other_machines_until_there_is_a_key(base: Base, host: str) -> None:
    done = called(base, "serve", "--host", host)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: --host {host}: there is no principal that could be")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_taken_port_is_told_in_one_line(base: Base, shared: str) -> None:
    port = shared.rpartition(":")[2]
    done = called(base, "serve", "--port", port)
    assert done.exit_code == 2
    assert f"--port {port}: Address already in use" in done.stderr


def test_keys_are_made_listed_and_revoked_while_it_runs(base: Base, serve) -> None:
    client = serve(base)

    def run(*words: str, status: int = 0) -> dict:
        done = called(base, *words, "--json")
        assert done.exit_code == status, done.output
        return json.loads(done.stdout)

    assert client.get("/v1/models").status_code == 200
    made = run("keys", "create", "web", "--groups", "board, hr", "--write")
    bearer = {"Authorization": f"Bearer {made['key']}"}
    assert client.get("/v1/models").status_code == 401
    assert client.get("/v1/models", headers=bearer).status_code == 200
    [listed] = run("keys", "list")["keys"]
    assert (listed["name"], listed["state"], listed["groups"]) == ("web", "active", ["board", "hr"])
    assert run("keys", "revoke", "web")["id"] == made["id"]
    reply = client.get("/v1/models", headers=bearer)
    assert reply.json()["error"]["code"] == "revoked_api_key"
    assert run("audit", "verify") == {"intact": True, "files": 1, "lines": 4, "problem": None}
    [file] = (base.storage / "service/audit").glob("*.jsonl")
    file.write_text(file.read_text().replace('"status": 401', '"status": 200'))
    broken = run("audit", "verify", status=1)
    assert not broken["intact"]
    assert "line 2: was changed" in broken["problem"]


def test_what_people_see_of_keys(base: Base) -> None:
    assert called(base, "keys", "list").stdout.startswith("No key yet")
    secret = called(base, "keys", "create", "app", "--groups", "*", "--tenant", "acme").stdout
    assert secret.startswith("rag_")
    assert "active   app: every group, tenant acme" in called(base, "keys", "list").stdout
    refused = called(base, "keys", "create", "app")
    assert (refused.exit_code, "an active key is called 'app'" in refused.stderr) == (2, True)
    assert called(base, "keys", "revoke", "nobody").exit_code == 2
    assert called(base, "audit", "verify").stdout == "Intact: 0 lines in 0 files.\n"
