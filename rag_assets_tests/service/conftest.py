"""A small knowledge base with groups and tenants, and real servers on free ports."""

import asyncio
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import uvicorn
import yaml

from rag_assets.config import load_config
from rag_assets.defs.execute import Refresher
from rag_assets.refresh.pipeline import Options
from rag_assets.service.app import create_app
from rag_assets.service.keys import KeyStore
from rag_assets_tests.conftest import SUBJECTS, SmallBase

SECRET = "The secret merger is called Project Bluebird and closes in the spring of next year."
ACME = "Acme ships its anvils in wooden crates of twelve, marked with a red anvil on the lid."
GLOBEX = "Globex ships its doomsday devices in padded boxes, one in each, marked with a skull."
SHARED = "Every tenant finds the loading dock behind gate four, open from six until noon."


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a refreshed knowledge base; tests copy it and leave it alone."""
    base = SmallBase(tmp_path_factory.mktemp("service") / "kb")
    base.fill(6, paragraphs=3)
    documents = {"board/merger.md": SECRET, "acme/a.md": ACME, "globex/g.md": GLOBEX}
    for name, text in {**documents, "shared/s.md": SHARED}.items():
        file = base.root / "more" / name
        file.parent.mkdir(parents=True)
        file.write_text(f"# About {name}\n\n{text}\n")
    sources: list[dict[str, Any]] = [*base.settings["sources"]]
    sources[0]["metadata"] = {"team": "office", "year": 2025, "tenant": "*"}
    sources += [
        _folder("board", acl=["board"], metadata={"team": "board"}),
        _folder("acme", metadata={"tenant": "acme"}),
        _folder("globex", metadata={"tenant": "globex"}),
        _folder("shared", metadata={"tenant": "*"}),
        {"name": "pushed", "type": "inbox", "buckets": 2},
    ]
    base.configure(sources=sources)
    base.ask_about(list(SUBJECTS[:6]), **{"recall@5": 0.5, "min_queries": 3})
    receipt = base.refresh()
    assert receipt["promoted"], receipt
    base.close()
    return base.root


def _folder(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "files", "path": f"./more/{name}", "buckets": 1, **more}


@dataclass
class Base:
    """A copy of the knowledge base that a test may change."""

    root: Path

    @property
    def path(self) -> Path:
        return self.root / "knowledge_base.yaml"

    @property
    def storage(self) -> Path:
        return self.root / "store"

    @property
    def keys(self) -> KeyStore:
        return KeyStore.at(self.storage)

    def configure(self, **sections: Any) -> None:
        """Replace whole sections of the configuration."""
        settings = yaml.safe_load(self.path.read_text())
        self.path.write_text(yaml.safe_dump({**settings, **sections}))

    def audit(self) -> list[dict[str, Any]]:
        """Every line of the audit log."""
        files = sorted((self.storage / "service/audit").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def refresh(self) -> dict[str, Any]:
        """One real refresh of what is configured; its receipt."""
        with dg.DagsterInstance.ephemeral() as instance:
            return Refresher(load_config(self.path), instance).refresh(Options())


@pytest.fixture
def base(built: Path, tmp_path: Path) -> Base:
    shutil.copytree(built, tmp_path / "kb")
    return Base(tmp_path / "kb")


@contextmanager
def serving(paths: Sequence[Path]) -> Iterator[str]:
    """The address of a real server for these files, in a thread of this process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(paths), log_level="error", access_log=False)
        server = uvicorn.Server(config)
        started = threading.Event()
        thread = threading.Thread(target=asyncio.run, args=(_run(server, listener, started),))
        thread.start()
        assert started.wait(60)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


async def _run(server: uvicorn.Server, listener: socket.socket, started: threading.Event) -> None:
    serve = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serve.done():
        await asyncio.sleep(0)
    started.set()
    await serve


@pytest.fixture(scope="session")
def shared(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that tests only ask; nobody needs a key."""
    root = tmp_path_factory.mktemp("shared") / "kb"
    shutil.copytree(built, root)
    with serving([Base(root).path]) as url:
        yield url


@pytest.fixture(scope="session")
def ask(shared: str) -> Iterator[httpx.Client]:
    """A client of the shared server."""
    with httpx.Client(base_url=shared, timeout=60) as client:
        yield client


@pytest.fixture
def serve() -> Iterator[Callable[..., httpx.Client]]:
    """Start a server for a test, and get a client of it; headers as keyword arguments."""
    opened: list[Any] = []

    def start(*bases: Base, key: str | None = None) -> httpx.Client:
        server = serving([one.path for one in bases])
        url = server.__enter__()
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        client = httpx.Client(base_url=url, timeout=60, headers=headers)
        opened.append((server, client))
        return client

    yield start
    for server, client in reversed(opened):
        client.close()
        server.__exit__(None, None, None)


COUNTED_IN = ["local", *(["redis"] if shutil.which("redis-server") else [])]


@pytest.fixture(params=COUNTED_IN)
def counters(request, tmp_path: Path) -> Iterator[str]:
    """Where requests are counted, as `service.limits.storage` names it; Redis is a real one."""
    if request.param == "local":
        yield "local"
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in server.stdout:
        if "Ready to accept connections" in line:
            break
    yield f"redis://127.0.0.1:{port}"
    server.terminate()
    server.communicate()


def address(client: httpx.Client) -> str:
    """Where a client's server is, without a slash at the end."""
    return str(client.base_url).rstrip("/")


def refusal(response: httpx.Response) -> tuple[int, str, str | None]:
    """(status, code, param) of a refusal, after looking that it has the one shape."""
    error = response.json()["error"]
    assert sorted(error) == ["code", "message", "param", "type"]
    assert isinstance(error["message"], str)
    assert "Traceback" not in response.text
    return response.status_code, error["code"], error["param"]


def until_text(lines: Iterator[str]) -> None:
    """Read on to the first text of a stream, past the pings of a slow start."""
    for line in lines:
        if line == "event: text":
            return
    raise AssertionError("the stream ended without any text")


def events(text: str) -> list[tuple[str, Any]]:
    """(name, data) of server-sent events."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in lines:
            data = lines["data"]
            found.append((lines.get("event", ""), data if data == "[DONE]" else json.loads(data)))
    return found
