"""Versions whose vectors live on a real Chroma server, started by the tests."""

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_assets.config import IndexConfig
from rag_assets.embedding.store import EmbeddingStore
from rag_assets.errors import StorageError
from rag_assets.index.checks import check_integrity, differences
from rag_assets.index.erase import build_without, drop_spare_collections, put_in_place
from rag_assets.index.live import LiveIndex
from rag_assets.index.server import ChromaServer
from rag_assets.index.versions import Versions
from rag_assets.records import text_key
from rag_assets_tests.index.conftest import (
    DIMENSION,
    MODEL,
    build,
    publish,
    vector,
    vectors,
    wanted,
)

CONTENT = {f"d{i}": [f"text {i} {j}" for j in range(3)] for i in range(20)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    chroma = Path(sys.executable).with_name("chroma")
    folder = tmp_path_factory.mktemp("chroma-server")
    process = subprocess.Popen(
        [chroma, "run", "--path", str(folder), "--port", str(port), "--host", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/api/v2/heartbeat", timeout=1).read()
                break
            except OSError:
                if process.poll() is not None:
                    raise
                try:
                    process.wait(timeout=0.1)
                except subprocess.TimeoutExpired:
                    continue
        yield url
    finally:
        process.terminate()
        process.wait()


def collections(server: str) -> set[str]:
    home = ChromaServer(server, "test")
    names = {c.name for c in home._client.list_collections()}
    home.close()
    return names


def edited(number: int) -> dict[str, list[str]]:
    return {**CONTENT, "d1": [f"edit {number}"]}


def test_versions_on_a_server_are_published_rolled_back_and_reused(
    versions: Versions, server: str
) -> None:
    for number in range(6):
        manifest = publish(versions, edited(number), home=server)
        assert check_integrity(versions, manifest.version, MODEL).passed
        with versions.publishing():
            versions.collect_garbage(keep=2)
    # Two kept versions and nothing that grows with the number of refreshes.
    assert len(collections(server)) <= 3
    live = LiveIndex(versions.root.parent)
    row = wanted(edited(5)).manifest.row(7, named=True)
    with live.read() as version:
        assert version.dense(vector(row["text_key"]), 1)[0][0] == row["chunk_id"]
        assert version.dense(vector(row["text_key"]), 2, [row["chunk_id"]])[0][0] == row["chunk_id"]
        assert "edit 5" in {p.text for p in version.passages(version.chunk_ids(["d1"]))}
    versions.rollback()
    with live.read() as version:
        assert "edit 4" in {p.text for p in version.passages(version.chunk_ids(["d1"]))}
        ids = [c for c, _ in version.dense(vector("x"), 60)]
        assert len(version.passages(ids)) == 58
    live.close()


def test_moving_home_rebuilds_there(versions: Versions, server: str) -> None:
    publish(versions, CONTENT)
    there = publish(versions, CONTENT, home=server)
    assert there.home == server
    assert differences(versions, there.version) == []
    back = build(versions, CONTENT)
    assert (back.home, back.collection) == ("embedded", "")
    assert differences(versions, back.version) == []


def test_damage_on_the_server_is_seen(versions: Versions, server: str) -> None:
    manifest = publish(versions, CONTENT, home=server)
    home = ChromaServer(server, "test")
    dense = home.open(manifest.collection)
    dense.delete(dense.ids()[:2])
    dense.close()
    outcome = check_integrity(versions, manifest.version, MODEL)
    assert not outcome.passed
    assert "chroma: 2 missing" in outcome.summary


def test_a_server_that_is_down_is_one_clear_error(versions: Versions) -> None:
    with pytest.raises(StorageError, match=r"cannot be reached.*chroma run"):
        build(versions, CONTENT, home=f"http://127.0.0.1:{free_port()}")
    assert versions.numbers() == []


def test_cloud_without_credentials_says_what_to_set(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CHROMA_API_KEY", "CHROMA_TENANT", "CHROMA_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StorageError, match="CHROMA_API_KEY"):
        build(versions, CONTENT, home="cloud")


def test_what_is_erased_leaves_the_server(versions: Versions, server: str, tmp_path: Path) -> None:
    for number in range(3):
        publish(versions, edited(number), home=server)
        with versions.publishing():
            versions.collect_garbage(keep=2)
    store = EmbeddingStore(tmp_path / "embeddings", MODEL, DIMENSION)
    keys = [text_key(text) for n in (1, 2) for texts in edited(n).values() for text in texts]
    store.put(list(dict.fromkeys(keys)), vectors(list(dict.fromkeys(keys))))
    config = IndexConfig(chroma=server)
    erased = {text_key("d1" + f"edit {n}")[:32] for n in range(3)}

    def holding() -> set[str]:
        home = ChromaServer(server, "test")
        found = {n for n in collections(server) if erased & set(home.open(n).ids())}
        home.close()
        return found

    assert len(holding()) >= 2
    before = collections(server)
    facts = {"config": config, "knowledge_base": "test", "run_id": "erasure"}
    with versions.publishing():
        live = versions.live().version
        for number in versions.sealed():
            made = build_without(versions, number, ["d1"], store, **facts)
            if number == live:
                versions.replace_live(made.version)
                versions.remove(live)
            else:
                put_in_place(versions, made, number)
        assert drop_spare_collections(versions, config, "test") > 0
    assert holding() == set()
    used = {versions.manifest(number).collection for number in versions.sealed()}
    assert collections(server) == used
    assert used.isdisjoint(before)  # where it was deleted it may still be on disk
    for number in versions.sealed():
        assert differences(versions, number) == []
    publish(versions, edited(7), home=server)
    assert holding() == set()
