"""`rag-assets dead-letters` over what a queue brought."""

import json

import pytest
from typer.testing import CliRunner

from rag_assets.cli import app as application
from rag_assets.cli import inspect_commands, letters_commands  # noqa: F401
from rag_assets.sources.kept import Kept


@pytest.fixture
def queue(small):
    """A knowledge base with a queue source, and what it keeps."""
    path = small.root / "kept"
    source = {"name": "q", "type": "queue", "url": "amqp://x", "queue": "d", "path": str(path)}
    small.configure(sources=[source])
    kept = Kept(path, "q")
    good = {"id": "a", "version": 1, "text": "Now it can be read."}
    kept.bury("m1", "unknown keys ['text']", json.dumps(good).encode())
    kept.bury("m2", "it is not JSON", b"{no")
    kept.bury("row ''", "id: expected 1 to 512 printable characters", None)
    return small, kept


def reply(small, *words):
    words = ["dead-letters", *words, "--config", str(small.path), "--json"]
    result = CliRunner().invoke(application.app, words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["dead_letters"]


def test_dead_letters_are_listed_tried_again_and_dropped(queue):
    small, kept = queue
    listed = reply(small)
    assert [row["name"] for row in listed] == ["m1", "m2", "row ''"]
    assert listed[1] | {"at": ""} == {
        "source": "q",
        "name": "m2",
        "at": "",
        "reason": "it is not JSON",
        "body": "{no",
        "settled": False,
    }
    tried = reply(small, "retry")
    assert [row["settled"] for row in tried] == [True, False, False]
    assert "not JSON" in tried[1]["reason"]
    assert kept.read("a") == b"Now it can be read."
    assert [row["name"] for row in reply(small, "drop", "m2")] == ["m2"]
    assert [row["name"] for row in reply(small)] == ["row ''"]


def test_a_name_that_is_none_is_told(queue):
    words = ["dead-letters", "drop", "m9", "--config", str(queue[0].path)]
    result = CliRunner().invoke(application.app, words)
    assert result.exit_code == 2
    assert "m9: no dead letter of this name" in result.output
