"""What a source says of itself when something is wrong: never its credentials."""

import json

import pytest
from pydantic import TypeAdapter

from rag_assets.config import HttpSettings, KnowledgeBaseConfig, RecordsConfig, SourceConfig
from rag_assets.errors import SourceError
from rag_assets.sources import open_source
from rag_assets.sources.collect import list_source
from rag_assets_tests.sources import site

for library in ("pika", "pymongo", "pg8000"):
    pytest.importorskip(library)

OURS = {"allow_private": True}
DOWN = "127.0.0.1:1"
ROWS = {"query": "SELECT 1 AS id", "text": "id"}
WRONG = [
    {"type": "sql", "url": f"postgresql+pg8000://u:hunter2@{DOWN}/x", **ROWS},
    {"type": "sql", "url": "postgresql+pg8000://u:pa#hunter2@h:port/x", **ROWS},
    {"type": "postgres_cdc", "url": f"postgresql+pg8000://u:hunter2@{DOWN}/x", "table": "t"},
    {"type": "postgres_cdc", "url": "postgresql+pg8000://u:hunter2@h:port/x", "table": "t"},
    {"type": "queue", "url": f"amqp://u:hunter2@{DOWN}/", "queue": "t"},
    {"type": "queue", "url": "amqp://u:hunter2/x@h/", "queue": "t"},
    {"type": "mongodb", "url": "mongodb://u:hunter2@h:port/", "database": "d", "collection": "c"},
    {"type": "files", "path": f"ftp://u:hunter2@{DOWN}/docs"},
    {"type": "records", "path": f"http://u:hunter2@{DOWN}/rows.jsonl"},
    {"type": "records", "path": f"https://{DOWN}/rows.jsonl?X-Amz-Signature=hunter2"},
    {"type": "rest", "url": f"http://{DOWN}/x?api_key=hunter2", "http": OURS},
    {"type": "feed", "feeds": [f"http://hunter2@{DOWN}/x?sig=hunter2"], "http": OURS},
    {"type": "web", "start": [f"http://u:hunter2@{DOWN}/x?token=hunter2"], "http": OURS},
    {"type": "notion", "token": "hunter2", "url": f"http://{DOWN}", "http": OURS},
]


@pytest.mark.parametrize("said", WRONG, ids=lambda said: said["type"])
def test_a_source_that_cannot_be_read_says_why_and_no_secret(said, tmp_path, monkeypatch):
    monkeypatch.setattr("rag_assets.sources.http._ATTEMPTS", 1)
    folder = {"path": str(tmp_path)} if "path" not in said else {}
    adapter = TypeAdapter(KnowledgeBaseConfig.model_fields["sources"].annotation)
    kept = "queue postgres_cdc mongodb feed web".split()
    [config] = adapter.validate_python(
        [{"name": "s", **said, **(folder if said["type"] in kept else {})}]
    )
    assert isinstance(config, SourceConfig)
    with pytest.raises(SourceError, match="nothing of") as caught:
        list_source(config, open_source(config))
    assert "hunter2" not in str(caught.value)
    assert said["type"] in {"files", "records", "web"} or "hunter2" not in repr(config)


def test_hits_do_not_show_the_signature_of_the_address_they_were_read_from():
    with site.serving() as served:
        row = json.dumps({"id": "a", "text": "hello"})
        served.pages["/rows.jsonl?sig=hunter2"] = site.Answer(row.encode())
        path = served.url("/rows.jsonl?sig=hunter2")
        source = open_source(RecordsConfig(name="s", type="records", path=path))
        [entry] = source.scan()
        assert source.fetch(entry) == b"hello"
        assert entry.uri == served.url("/rows.jsonl?sig=***#a")


def test_headers_are_no_part_of_what_is_shown():
    assert "hunter2" not in repr(HttpSettings(headers={"Authorization": "hunter2"}))
