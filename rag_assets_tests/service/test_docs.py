"""The clients in docs/serving.md, run as they stand there; but for the port, and what is asked."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from rag_assets_tests.service.conftest import Base, address

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no docs")


def blocks(heading: str) -> dict[str, str]:
    """The blocks of code under a heading, by language; those without one are for the shell."""
    section = PAGE.read_text().split(f"### {heading}\n")[1].split("\n### ")[0]
    found = re.findall(r"```(\w*)\n(.*?)```", section, re.DOTALL)
    return {language or "sh": text for language, text in found}


@pytest.fixture
def service(base: Base, serve) -> tuple[str, dict[str, str]]:
    """(host and port, environment) of a service that demands a key."""
    base.configure(name="handbook")
    _, secret = base.keys.create("reader", groups=["*"], may_write=True)
    here = address(serve(base)).removeprefix("http://")
    return here, {**os.environ, "RAG_KEY": secret}


def run(service: tuple[str, dict[str, str]], folder: Path, *command: str) -> str:
    """What a command with its text at the end prints."""
    here, environment = service
    *program, text = command
    text = text.replace("localhost:8080", here).replace("annual leave", "vacation")
    done = subprocess.run(
        [*program, text], env=environment, cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(service, tmp_path: Path, base: Base) -> None:
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4 not looked at before the next refresh")
    text = blocks("curl")["sh"].replace("curl ", 'curl -sSf -H "Authorization: Bearer $RAG_KEY" ')
    said = run(service, tmp_path, "sh", "-ec", text)
    assert '"index_version":1' in said
    assert "event: answer" in said
    assert said.count('"status":"accepted"') == 2
    pushed = [line["document"]["doc_id"] for line in base.audit() if "document" in line]
    assert pushed == ["pushed/notes/parking", "pushed/report.pdf"]


@pytest.mark.parametrize("heading", ["Python", "The OpenAI SDK", "MCP"])
def test_python(service, tmp_path: Path, heading: str) -> None:
    said = run(service, tmp_path, sys.executable, "-c", blocks(heading)["python"])
    assert "vacation" in said
    assert "does not answer" not in said


def test_the_configuration_of_an_agent_starts_the_tools(base: Base) -> None:
    given = json.loads(blocks("MCP")["json"])["mcpServers"]
    assert given["intranet"]["url"].endswith("/mcp")
    server = given["handbook"]
    arguments = [argument.replace("/path", str(base.root)) for argument in server["args"]]
    assert server["command"] == "rag-assets"
    program = ["-c", "from rag_assets.cli import main; main()", *arguments]

    async def use() -> list[str]:
        parameters = StdioServerParameters(command=sys.executable, args=program)
        async with stdio_client(parameters) as streams, ClientSession(*streams) as session:
            await session.initialize()
            return [tool.name for tool in (await session.list_tools()).tools]

    assert "search_knowledge_base" in asyncio.run(use())
