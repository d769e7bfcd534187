import json
import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_assets.config import InboxConfig, load_config
from rag_assets.errors import BadRequest, ConfigError, SourceError
from rag_assets.sources import open_source
from rag_assets.sources.inbox import Inbox, Pushed


def source(directory: Path):
    return open_source(InboxConfig(name="pushed", type="inbox", path=str(directory)))


def test_what_was_put_is_listed_and_fetched(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, "pushed")
    pushed = Pushed(
        uri="https://wiki/a",
        title="A page",
        metadata={"team": "hr"},
        acl=("hr",),
        valid_until=datetime(2027, 1, 1, tzinfo=UTC),
    )
    digest = inbox.put("wiki/a.md", b"# A\r\n\x00bytes\n", pushed)
    inbox.put("b", b"")
    listed = {entry.key: entry for entry in source(tmp_path).scan()}
    entry = listed["wiki/a.md"]
    assert (entry.uri, entry.name, entry.title) == ("https://wiki/a", "a.md", "A page")
    assert (entry.token, entry.size, entry.acl) == (digest, 12, ("hr",))
    assert (entry.metadata, entry.valid_until) == ({"team": "hr"}, pushed.valid_until)
    assert source(tmp_path).fetch(entry) == b"# A\r\n\x00bytes\n"
    assert (listed["b"].uri, listed["b"].acl, listed["b"].size) == ("inbox://pushed/b", None, 0)


def test_a_deleted_document_is_listed_no_more_until_it_is_put_again(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, "pushed")
    assert not inbox.delete("a")
    inbox.put("a", b"one")
    assert inbox.delete("a")
    assert inbox.delete("a")
    assert list(source(tmp_path).scan()) == []
    with pytest.raises(SourceError, match="inbox://pushed/a: was deleted"):
        inbox.read("a")
    assert "deleted_at" in inbox.header("a")
    inbox.put("a", b"two")
    [entry] = source(tmp_path).scan()
    assert source(tmp_path).fetch(entry) == b"two"


def test_new_bytes_or_attributes_change_the_listing(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, "pushed")
    inbox.put("a", b"one")
    [first] = inbox.entries()
    inbox.put("a", b"one", Pushed(title="New title"))
    [second] = inbox.entries()
    assert (second.token, second.title) == (first.token, "New title")
    inbox.put("a", b"two")
    [third] = inbox.entries()
    assert third.token != first.token


def test_a_missing_inbox_is_empty_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    assert list(source(tmp_path / "none").scan()) == []
    inbox = Inbox(tmp_path, "pushed")
    inbox.put("a", b"one")
    [file] = tmp_path.glob("??/*.doc")
    file.write_bytes(b"not a header\n")
    with pytest.raises(SourceError, match="nothing of the source was changed"):
        list(inbox.entries())


@pytest.mark.parametrize("key", ["", " a", "a\n", "a\x00b", "x" * 513, "\ud800"])
def test_ids_that_cannot_be_one_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(BadRequest, match="document id"):
        Inbox(tmp_path, "pushed").put(key, b"")


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40), st.binary(max_size=200))
def test_any_printable_id_and_any_bytes_come_back(tmp_path_factory, key: str, data: bytes) -> None:
    directory = tmp_path_factory.mktemp("inbox")
    inbox = Inbox(directory, "pushed")
    if key.strip() != key or not key.isprintable():
        return
    inbox.put(key, data)
    [entry] = inbox.entries()
    assert (entry.key, inbox.read(key)) == (key, data)
    assert all(directory in path.parents for path in directory.rglob("*"))


def test_the_inbox_lies_in_storage_and_on_a_disk(tmp_path: Path) -> None:
    file = tmp_path / "knowledge_base.yaml"
    file.write_text("name: a\nsources: [{name: pushed, type: inbox}]\n")
    [config] = load_config(file).sources
    assert (config.path, config.delete_guard) == (str(tmp_path / ".rag/inbox/pushed"), 1.0)
    remote = "name: a\nstorage: s3://b/c\nworking_directory: ./here\n"
    file.write_text(remote + "sources: [{name: pushed, type: inbox}]\n")
    [config] = load_config(file).sources
    assert (config.path, config.carried_to) == (str(tmp_path / "here/inbox/pushed"), "s3://b/c")
    file.write_text("name: a\nsources: [{name: pushed, type: inbox, path: 's3://b/c'}]\n")
    with pytest.raises(ConfigError, match=r"sources\.0\.path: expected a local directory"):
        load_config(file)


@pytest.mark.parametrize("count", [300, pytest.param(3000, marks=pytest.mark.full)])
def test_what_was_acknowledged_survives_kills_at_any_moment(tmp_path: Path, count: int) -> None:
    """A caller repeats what was not acknowledged, and now and then what was."""
    chance = random.Random(11)
    requests: list[tuple[str, str | None]] = []
    for number in range(count):
        text = None if chance.random() < 0.1 else f"text {number}"
        requests.append((f"d{chance.randrange(count // 5)}", text))
        if chance.random() < 0.05:
            requests.append(requests[-1])
    refused = set(chance.sample(range(len(requests)), 7))
    requests = [("", "x") if n in refused else one for n, one in enumerate(requests)]
    (tmp_path / "requests").write_text("\n".join(map(json.dumps, requests)))
    command = [sys.executable, "-m", "rag_assets_tests.sources.pushing", str(tmp_path / "inbox")]
    command += [str(tmp_path / "requests")]
    first, told = 0, set()
    while first < len(requests):
        with subprocess.Popen([*command, str(first)], stdout=subprocess.PIPE, text=True) as caller:
            until = first + chance.randrange(count // 4, count // 2)
            for line in caller.stdout:
                number, _, why = line.partition(" ")
                first = int(number) + 1
                told |= {int(number)} if why else set()
                if first >= until:
                    caller.kill()
                    break
    wanted = {}
    for number, (key, text) in enumerate(requests):
        if number not in refused:
            wanted[key] = text
    inbox = Inbox(tmp_path / "inbox", "s")
    found = {entry.key: inbox.read(entry.key).decode() for entry in inbox.entries()}
    assert found == {key: text for key, text in wanted.items() if text is not None}
    assert told == refused
