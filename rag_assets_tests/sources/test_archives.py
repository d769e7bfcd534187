import io
import tarfile
import zipfile

import pytest

from rag_assets.config import FilesConfig
from rag_assets.sources import archives, open_source

MEMBERS = {"a.md": b"alpha", "sub/ü b.txt": b"beta", ".hidden/c.md": b"x", "drafts/d.md": b"y"}


def source_of(path, **settings):
    return open_source(FilesConfig(name="docs", type="files", path=str(path), **settings))


def entries_of(path, **settings):
    return {entry.key: entry for entry in source_of(path, **settings).scan()}


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sub/", b"")
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 5, 1, 10, 0, 0)), data)


def tarred(path, members, mode):
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.TGZ", "x.tar.bz2", "x.txz"])
def test_members_are_documents(tmp_path, name):
    if name.endswith("zip"):
        zipped(tmp_path / name, MEMBERS)
    else:
        kind = {"tar": "w", "gz": "w:gz", "TGZ": "w:gz", "bz2": "w:bz2", "txz": "w:xz"}
        tarred(tmp_path / name, MEMBERS, kind[name.rpartition(".")[2]])
    source = source_of(tmp_path, exclude=["**/drafts/**"])
    found = {entry.key: entry for entry in source.scan()}
    assert sorted(found) == [f"{name}!/a.md", f"{name}!/sub/ü b.txt"]
    entry = found[f"{name}!/sub/ü b.txt"]
    assert entry.uri == f"file://{tmp_path}/{name}!/sub/%C3%BC%20b.txt"
    assert (entry.name, entry.size) == ("ü b.txt", 4)
    assert [source.fetch(entry) for entry in found.values()] == [b"alpha", b"beta"]
    assert source_of(tmp_path).fetch(entry) == b"beta"


def test_only_the_member_that_changed_gets_a_new_token(tmp_path):
    zipped(tmp_path / "x.zip", MEMBERS)
    before = entries_of(tmp_path)
    zipped(tmp_path / "x.zip", {**MEMBERS, "a.md": b"ALPHA"})
    after = entries_of(tmp_path)
    assert {key for key in before if before[key].token != after[key].token} == {"x.zip!/a.md"}


def test_patterns_see_an_archive_as_a_folder(tmp_path):
    zipped(tmp_path / "x.zip", MEMBERS)
    assert sorted(entries_of(tmp_path, include=["**/*.md"])) == [
        "x.zip!/a.md",
        "x.zip!/drafts/d.md",
    ]
    assert sorted(entries_of(tmp_path, include=["*.zip"])) == [
        "x.zip!/a.md",
        "x.zip!/drafts/d.md",
        "x.zip!/sub/ü b.txt",
    ]
    assert entries_of(tmp_path, exclude=["*.zip"]) == {}


def test_a_damaged_archive_is_one_document_with_its_problem(tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 nothing")
    (tmp_path / "broken.tar.gz").write_bytes(b"\x1f\x8b nothing")
    found = entries_of(tmp_path)
    assert sorted(found) == ["broken.tar.gz", "broken.zip"]
    assert found["broken.zip"].problem == "damaged archive: File is not a zip file"
    assert found["broken.tar.gz"].problem.startswith("unreadable archive: ")


def test_limits(tmp_path, monkeypatch):
    zipped(tmp_path / "x.zip", {"big.bin": bytes(3 << 20), "small.md": b"x"})
    found = entries_of(tmp_path, max_mib=2)
    assert found["x.zip!/big.bin"].problem.startswith("too large: 3 MiB")
    assert found["x.zip!/small.md"].problem is None
    monkeypatch.setattr(archives, "MOST_MEMBERS", 1)
    assert entries_of(tmp_path)["x.zip"].problem == "too large: 2 members, the limit is 1"


def test_an_encrypted_member_says_so(tmp_path):
    zipped(tmp_path / "x.zip", {"a.md": b"secret"})
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    assert entries_of(tmp_path)["x.zip!/a.md"].problem.startswith("encrypted: ")


def test_a_member_that_vanished_cannot_be_fetched(tmp_path):
    zipped(tmp_path / "x.zip", MEMBERS)
    source = source_of(tmp_path)
    entry = {entry.key: entry for entry in source.scan()}["x.zip!/a.md"]
    zipped(tmp_path / "x.zip", {"b.md": b"b"})
    with pytest.raises(OSError, match=r"a\.md"):
        source.fetch(entry)


def test_a_folder_may_be_called_like_an_archive(tmp_path):
    (tmp_path / "x.zip!").mkdir()
    (tmp_path / "x.zip!/a.md").write_bytes(b"plain file")
    source = source_of(tmp_path)
    (entry,) = source.scan()
    assert source.fetch(entry) == b"plain file"


def test_odd_names_are_read_like_any_others(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, data in (("a.md", "old"), ("/b.md", "b"), ("c\\d.md", "d")):
            archive.writestr(name, data)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.md", "new")
    tarred(tmp_path / "y.tar", {"./sub/e.md": b"e", "caf\udce9.md": b"f", "g h.md": b"g"}, "w")
    source = source_of(tmp_path)
    entries = list(source.scan())
    assert {entry.key: source.fetch(entry) for entry in entries} == {
        "x.zip!/a.md": b"new",
        "x.zip!/b.md": b"b",
        "x.zip!/c/d.md": b"d",
        "y.tar!/sub/e.md": b"e",
        "y.tar!/caf%E9.md": b"f",
        "y.tar!/g h.md": b"g",
    }
    assert len(entries) == 6


def test_a_member_of_no_time_we_know_and_a_damaged_one(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo("a.md")
        info.mtime, info.size = 1 << 40, 1
        archive.addfile(info, io.BytesIO(b"a"))
    zipped(tmp_path / "y.zip", {"b.md": bytes(range(256)) * 9})
    damaged = bytearray((tmp_path / "y.zip").read_bytes())
    start = damaged.find(b"b.md") + 4
    damaged[start : start + 40] = b"\xff" * 40
    (tmp_path / "y.zip").write_bytes(damaged)
    source = source_of(tmp_path)
    found = {entry.key: entry for entry in source.scan()}
    assert source.fetch(found["x.tar!/a.md"]) == b"a"
    assert found["x.tar!/a.md"].modified_at is None
    with pytest.raises(OSError, match=r"b\.md"):
        source.fetch(found["y.zip!/b.md"])
