from datetime import UTC, datetime

import fsspec
import pytest

from rag_assets.config import FilesConfig
from rag_assets.errors import SourceError
from rag_assets.sources import open_source
from rag_assets_tests.sources.s3_server import environment, serving


def source_of(url, **settings):
    return open_source(FilesConfig(name="docs", type="files", path=url, **settings))


@pytest.fixture
def bucket(monkeypatch):
    with serving() as server:
        for name, value in environment(server).items():
            monkeypatch.setenv(name, value)
        yield server


def test_objects_of_an_s3_prefix(bucket):
    bucket.objects = {
        "kb/a.md": b"one",
        "kb/b/ü c.md": b"two",
        "kb/b/drafts/d.md": b"x",
        "kb/.hidden/e.md": b"x",
        "kb/folder/": b"",
        "other/f.md": b"x",
    }
    source = source_of("s3://bucket/kb", exclude=["drafts"])
    entries = list(source.scan())
    assert [(e.key, e.uri, e.name, e.size) for e in entries] == [
        ("a.md", "s3://bucket/kb/a.md", "a.md", 3),
        ("b/ü c.md", "s3://bucket/kb/b/%C3%BC%20c.md", "ü c.md", 3),
    ]
    assert entries[0].modified_at == datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert [source.fetch(entry) for entry in entries] == [b"one", b"two"]


def test_an_object_rewritten_in_the_same_second_gets_a_new_token(bucket):
    bucket.objects = {"kb/a.md": b"one", "kb/b.md": b"same"}
    before = {e.key: e.token for e in source_of("s3://bucket/kb").scan()}
    bucket.objects["kb/a.md"] = b"two"
    after = {e.key: e.token for e in source_of("s3://bucket/kb").scan()}
    assert {key for key in before if before[key] != after[key]} == {"a.md"}


def test_a_page_that_fails_fails_the_listing(bucket):
    bucket.objects = {f"kb/{i}.md": b"x" for i in range(5)}
    bucket.fail_from_page = 1
    with pytest.raises(SourceError, match=r"s3://bucket/kb cannot be listed .* nothing of"):
        list(source_of("s3://bucket/kb").scan())


def test_an_object_that_vanished_is_a_source_error(bucket):
    bucket.objects = {"kb/a.md": b"one"}
    source = source_of("s3://bucket/kb")
    (entry,) = source.scan()
    bucket.objects = {}
    with pytest.raises(SourceError, match=r"s3://bucket/kb/a.md: cannot be read"):
        source.fetch(entry)


@pytest.fixture
def memory():
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe({"/kb/a.md": b"one", "/kb/b/c.md": b"two", "/kb/b/.d.md": b"x"})
    yield filesystem
    filesystem.rm("/kb", recursive=True)


def test_files_of_any_fsspec_file_system(memory):
    source = source_of("memory://kb")
    entries = {entry.key: entry for entry in source.scan()}
    assert sorted(entries) == ["a.md", "b/c.md"]
    assert entries["b/c.md"].uri == "memory://kb/b/c.md"
    assert source.fetch(entries["b/c.md"]) == b"two"
    memory.pipe("/kb/a.md", b"new")
    after = {entry.key: entry.token for entry in source.scan()}
    assert after["a.md"] != entries["a.md"].token
    assert after["b/c.md"] == entries["b/c.md"].token


def test_a_missing_prefix_or_an_unknown_scheme_is_an_error(memory):
    with pytest.raises(SourceError, match="memory://nowhere cannot be listed"):
        list(source_of("memory://nowhere").scan())
    with pytest.raises(SourceError, match="gopher://x cannot be listed"):
        list(source_of("gopher://x").scan())


def test_an_object_above_the_limit_is_a_problem(memory):
    memory.pipe("/kb/big.bin", bytes(2 << 20))
    found = {entry.key: entry.problem for entry in source_of("memory://kb", max_mib=1).scan()}
    assert found["big.bin"] == "too large: 2 MiB, the limit of this source is max_mib: 1"
