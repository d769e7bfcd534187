"""Every source against the contract."""

import json
import os
import shutil
import sqlite3
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
import sqlalchemy

from rag_assets.config import (
    FilesConfig,
    HttpSettings,
    InboxConfig,
    RecordsConfig,
    SqlConfig,
)
from rag_assets.sources.inbox import Inbox
from rag_assets_tests.sources import postgres, s3_server
from rag_assets_tests.sources.contract import (
    DeletingSourceContract,
    ReachesTheSearch,
)

LOOPBACK = HttpSettings(allow_private=True)


class DirectoryWorld:
    def __init__(self, root: Path) -> None:
        self.root = root / "docs"
        (self.root / "sub").mkdir(parents=True)

    def config(self):
        return FilesConfig(name="s", type="files", path=str(self.root))

    def put(self, name, text):
        (self.root / "sub" / f"{name}.md").write_text(text)

    def delete(self, name):
        (self.root / "sub" / f"{name}.md").unlink()

    @contextmanager
    def broken(self):
        listing = os.scandir

        def scandir(folder):
            if str(folder).endswith("/sub"):
                raise PermissionError(13, "Permission denied", folder)
            return listing(folder)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "scandir", scandir)
            yield


class TestDirectory(DeletingSourceContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, tmp_path):
        return DirectoryWorld(tmp_path)


class MemoryWorld:
    def __init__(self) -> None:
        self.files = fsspec.filesystem("memory")
        self.files.makedirs("/contract", exist_ok=True)

    def config(self):
        return FilesConfig(name="s", type="files", path="memory://contract")

    def put(self, name, text):
        self.files.pipe(f"/contract/sub/{name}.md", text.encode())

    def delete(self, name):
        self.files.rm(f"/contract/sub/{name}.md")

    @contextmanager
    def broken(self):
        listing = type(self.files).ls

        def ls(self, path, *args, **settings):
            if path.endswith("sub"):
                raise OSError("gone away")
            return listing(self, path, *args, **settings)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(self.files), "ls", ls)
            yield


class TestMemory(DeletingSourceContract):
    @pytest.fixture
    def world(self):
        world = MemoryWorld()
        yield world
        world.files.rm("/contract", recursive=True)


class TestS3(DeletingSourceContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, monkeypatch):
        with s3_server.serving() as bucket:
            for name, value in s3_server.environment(bucket).items():
                monkeypatch.setenv(name, value)
            yield s3_server.World(bucket, "s3://bucket/kb")


class RecordsWorld:
    def __init__(self, root: Path) -> None:
        self.path = root / "rows.jsonl"
        self.rows: dict[str, str] = {}
        self.write()

    def config(self):
        return RecordsConfig(name="s", type="records", path=str(self.path))

    def write(self):
        rows = [json.dumps({"id": name, "text": text}) for name, text in self.rows.items()]
        self.path.write_text("\n".join(rows))

    def put(self, name, text):
        self.rows[name] = text
        self.write()

    def delete(self, name):
        del self.rows[name]
        self.write()

    @contextmanager
    def broken(self):
        away = self.path.with_name("away")
        shutil.move(self.path, away)
        yield
        shutil.move(away, self.path)


class TestRecords(DeletingSourceContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, tmp_path):
        return RecordsWorld(tmp_path)


class SqlWorld:
    def __init__(self, root: Path, updated_at: str | None) -> None:
        self.updated_at = updated_at
        self.url = f"sqlite:///{root / 'app.db'}"
        self.base = sqlite3.connect(root / "app.db", isolation_level=None)
        self.base.execute("CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT, changed INTEGER)")

    def config(self):
        return SqlConfig(
            name="s",
            type="sql",
            url=self.url,
            query="SELECT * FROM notes",
            text="body",
            updated_at=self.updated_at,
        )

    def put(self, name, text):
        (last,) = self.base.execute("SELECT coalesce(max(changed), 0) FROM notes").fetchone()
        row = (name, text, last + 1)
        self.base.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", row)

    def delete(self, name):
        self.base.execute("DELETE FROM notes WHERE id = ?", (name,))

    @contextmanager
    def broken(self):
        self.base.execute("ALTER TABLE notes RENAME TO away")
        yield
        self.base.execute("ALTER TABLE away RENAME TO notes")


class TestSqlByTime(DeletingSourceContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, tmp_path):
        return SqlWorld(tmp_path, "changed")


class TestSqlByText(DeletingSourceContract):
    @pytest.fixture
    def world(self, tmp_path):
        return SqlWorld(tmp_path, None)


class PostgresWorld:
    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
        self.run("DROP TABLE IF EXISTS notes")
        self.run("CREATE TABLE notes (id text PRIMARY KEY, body text, changed timestamptz)")

    def run(self, statement, **values):
        with self.engine.connect() as connection:
            connection.execute(sqlalchemy.text(statement), values)

    def config(self):
        return SqlConfig(
            name="s",
            type="sql",
            url=self.url,
            query="SELECT id, body, changed FROM notes WHERE changed > '2000-01-01 00:00:00'",
            text="body",
            updated_at="changed",
        )

    def put(self, name, body):
        self.run(
            "INSERT INTO notes VALUES (:name, :body, clock_timestamp()) ON CONFLICT (id)"
            " DO UPDATE SET body = excluded.body, changed = excluded.changed",
            name=name,
            body=body,
        )

    def delete(self, name):
        self.run("DELETE FROM notes WHERE id = :name", name=name)

    @contextmanager
    def broken(self):
        self.run("ALTER TABLE notes RENAME TO away")
        yield
        self.run("ALTER TABLE away RENAME TO notes")


if postgres.available():

    class TestPostgres(DeletingSourceContract, ReachesTheSearch):
        @pytest.fixture(scope="class")
        def server(self, tmp_path_factory):
            with postgres.serving(tmp_path_factory.mktemp("postgres")) as url:
                yield url

        @pytest.fixture
        def world(self, server):
            return PostgresWorld(server)


class InboxWorld:
    def __init__(self, root: Path) -> None:
        self.root = root / "inbox"
        self.inbox = Inbox(self.root, "s")

    def config(self):
        return InboxConfig(name="s", type="inbox", path=str(self.root))

    def put(self, name, text):
        self.inbox.put(name, text.encode())

    def delete(self, name):
        self.inbox.delete(name)

    @contextmanager
    def broken(self):
        folder = self.root / "ff"
        folder.mkdir(exist_ok=True)
        (folder / "damaged.doc").write_bytes(b"no header")
        yield
        (folder / "damaged.doc").unlink()


class TestInbox(DeletingSourceContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, tmp_path):
        return InboxWorld(tmp_path)
