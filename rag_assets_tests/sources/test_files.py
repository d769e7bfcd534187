import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rag_assets.config import FilesConfig
from rag_assets.errors import SourceError
from rag_assets.sources import Entry, open_source


def source_of(path, **settings):
    return open_source(FilesConfig(name="docs", type="files", path=str(path), **settings))


def listed(path, **settings):
    return {entry.key: entry for entry in source_of(path, **settings).scan()}


def write(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def test_an_entry_says_what_the_file_system_says(tmp_path):
    write(tmp_path, "hr/leave.md")
    os.utime(tmp_path / "hr/leave.md", ns=(0, 1_700_000_000_123_456_789))
    status = (tmp_path / "hr/leave.md").stat()
    entry = listed(tmp_path)["hr/leave.md"]
    assert entry == Entry(
        key="hr/leave.md",
        uri=f"file://{tmp_path}/hr/leave.md",
        name="leave.md",
        token=f"11-1700000000123456789-{status.st_ctime_ns}-{status.st_ino}",
        size=11,
        modified_at=datetime(2023, 11, 14, 22, 13, 20, 123457, tzinfo=UTC),
    )
    assert source_of(tmp_path).fetch(entry) == b"hr/leave.md"


def test_hidden_and_excluded_files_are_not_listed(tmp_path):
    write(tmp_path, "a.md", "b/c.txt", ".env", ".git/config", "b/drafts/d.md", "b/~e.tmp")
    found = listed(tmp_path, exclude=["**/drafts/**", "*.tmp"])
    assert list(found) == ["a.md", "b/c.txt"]
    assert list(listed(tmp_path, include=["**/.env", "*.md"])) == [".env", "a.md", "b/drafts/d.md"]


def test_rewriting_with_the_same_size_and_time_changes_the_token(tmp_path):
    write(tmp_path, "a.md")
    before = listed(tmp_path)["a.md"]
    os.replace(_copy_with_same_times(tmp_path / "a.md"), tmp_path / "a.md")
    after = listed(tmp_path)["a.md"]
    assert after.size == before.size
    assert after.modified_at == before.modified_at
    assert after.token != before.token


def _copy_with_same_times(path: Path) -> Path:
    copy = path.with_name("new")
    copy.write_text(path.read_text().upper())
    status = path.stat()
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    return copy


def test_link_loops_end_and_every_file_is_listed_once(tmp_path):
    write(tmp_path, "a/b/c.md")
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
    (tmp_path / "0-first").symlink_to(tmp_path / "a")
    (tmp_path / "self").symlink_to("self")
    found = listed(tmp_path)
    assert sorted(key for key, entry in found.items() if not entry.problem) == ["a/b/c.md"]
    assert "broken link" in found["self"].problem


def test_links_within_the_source_are_followed(tmp_path):
    write(tmp_path, "docs/real/a.md")
    (tmp_path / "docs/copy.md").symlink_to("real/a.md")
    found = listed(tmp_path / "docs")
    assert sorted(found) == ["copy.md", "real/a.md"]
    assert source_of(tmp_path).fetch(found["copy.md"]) == b"docs/real/a.md"


def test_links_out_of_the_source_are_a_problem(tmp_path):
    write(tmp_path, "secret.txt", "other/b.md", "docs/a.md")
    (tmp_path / "docs/passwords.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "docs/elsewhere").symlink_to(tmp_path / "other")
    (tmp_path / "docs/gone.md").symlink_to(tmp_path / "nothing")
    found = listed(tmp_path / "docs")
    assert sorted(found) == ["a.md", "elsewhere", "gone.md", "passwords.txt"]
    assert found["passwords.txt"].problem.startswith("link out of the source's directory, to ")
    assert found["elsewhere"].problem.startswith("link out of the source's directory, to ")
    assert found["gone.md"].problem == "broken link: No such file or directory"


def test_names_that_are_not_utf8_get_a_printable_key_and_can_be_fetched(tmp_path):
    name = b"caf\xe9 100%.md"
    with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
        file.write(b"hello")
    (key, entry), *rest = listed(tmp_path).items()
    assert rest == []
    assert key == "caf%E9 100%.md"
    assert entry.uri.endswith("/caf%E9%20100%25.md")
    entry.key.encode(), entry.name.encode(), entry.uri.encode()
    assert source_of(tmp_path).fetch(entry) == b"hello"


@pytest.mark.parametrize("name", ["a b#c?d%20.md", "ünïcödé.md", "日本語.md", "line\nbreak.md"])
def test_every_name_survives_the_way_through_the_uri(tmp_path, name):
    write(tmp_path, name)
    entry = listed(tmp_path)[name]
    assert source_of(tmp_path).fetch(entry) == name.encode()


def test_pipes_and_sockets_are_no_documents(tmp_path):
    write(tmp_path, "a.md")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        assert list(listed(tmp_path)) == ["a.md"]


def test_a_missing_folder_is_an_error_not_an_empty_listing(tmp_path):
    with pytest.raises(SourceError, match=r"cannot be listed \(No such file or directory\)"):
        list(source_of(tmp_path / "nowhere").scan())


def test_a_folder_that_cannot_be_listed_fails_the_whole_listing(tmp_path, monkeypatch):
    write(tmp_path, "a.md", "b/c.md", "d.md")
    listing = os.scandir

    def scandir(folder):
        if str(folder).endswith("/b"):
            raise PermissionError(13, "Permission denied", folder)
        return listing(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(SourceError, match=r"/b cannot be listed \(Permission denied\)"):
        list(source_of(tmp_path).scan())


def test_a_file_that_vanished_is_listed_and_fails_when_fetched(tmp_path):
    write(tmp_path, "a.md")
    entry = listed(tmp_path)["a.md"]
    (tmp_path / "a.md").unlink()
    with pytest.raises(FileNotFoundError):
        source_of(tmp_path).fetch(entry)


def test_a_file_above_the_limit_is_a_problem(tmp_path):
    with open(tmp_path / "big.bin", "wb") as file:
        file.truncate(3 << 20)
    write(tmp_path, "a.md")
    found = listed(tmp_path, max_mib=2)
    assert found["big.bin"].problem == "too large: 3 MiB, the limit of this source is max_mib: 2"
    assert found["a.md"].problem is None


def test_a_file_url_is_a_directory(tmp_path):
    write(tmp_path, "a b/c.md")
    assert list(listed(f"{tmp_path.as_uri()}/a%20b")) == ["c.md"]
