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
    FeedConfig,
    FilesConfig,
    HttpSettings,
    InboxConfig,
    NotionConfig,
    Pagination,
    RecordsConfig,
    RestConfig,
    SqlConfig,
    WebConfig,
)
from rag_assets.sources import open_source
from rag_assets.sources.inbox import Inbox
from rag_assets_tests.sources import postgres, s3_server, site
from rag_assets_tests.sources.contract import DeletingSourceContract, SourceContract

LOOPBACK = HttpSettings(allow_private=True)


class DirectoryWorld:
    def __init__(self, root: Path) -> None:
        self.root = root / "docs"
        (self.root / "sub").mkdir(parents=True)

    def source(self):
        return open_source(FilesConfig(name="s", type="files", path=str(self.root)))

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


class TestDirectory(DeletingSourceContract):
    @pytest.fixture
    def world(self, tmp_path):
        return DirectoryWorld(tmp_path)


class MemoryWorld:
    def __init__(self) -> None:
        self.files = fsspec.filesystem("memory")
        self.files.makedirs("/contract", exist_ok=True)

    def source(self):
        return open_source(FilesConfig(name="s", type="files", path="memory://contract"))

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


class BucketWorld:
    def __init__(self, bucket: s3_server.Bucket) -> None:
        self.bucket = bucket

    def source(self):
        return open_source(FilesConfig(name="s", type="files", path="s3://bucket/kb"))

    def put(self, name, text):
        self.bucket.objects[f"kb/{name}.md"] = text.encode()

    def delete(self, name):
        del self.bucket.objects[f"kb/{name}.md"]

    @contextmanager
    def broken(self):
        self.bucket.fail_from_page = 1
        yield
        self.bucket.fail_from_page = None


class TestS3(DeletingSourceContract):
    @pytest.fixture
    def world(self, monkeypatch):
        with s3_server.serving() as bucket:
            monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.url)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
            monkeypatch.setenv("AWS_REGION", "us-east-1")
            monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
            yield BucketWorld(bucket)


class RecordsWorld:
    def __init__(self, root: Path) -> None:
        self.path = root / "rows.jsonl"
        self.rows: dict[str, str] = {}
        self.write()

    def source(self):
        return open_source(RecordsConfig(name="s", type="records", path=str(self.path)))

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


class TestRecords(DeletingSourceContract):
    @pytest.fixture
    def world(self, tmp_path):
        return RecordsWorld(tmp_path)


class SqlWorld:
    def __init__(self, root: Path, updated_at: str | None) -> None:
        self.updated_at = updated_at
        self.url = f"sqlite:///{root / 'app.db'}"
        self.base = sqlite3.connect(root / "app.db", isolation_level=None)
        self.base.execute("CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT, changed INTEGER)")

    def source(self):
        return open_source(
            SqlConfig(
                name="s",
                type="sql",
                url=self.url,
                query="SELECT * FROM notes",
                text="body",
                updated_at=self.updated_at,
            )
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


class TestSqlByTime(DeletingSourceContract):
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

    def source(self):
        return open_source(
            SqlConfig(
                name="s",
                type="sql",
                url=self.url,
                query="SELECT id, body, changed FROM notes WHERE changed > '2000-01-01 00:00:00'",
                text="body",
                updated_at="changed",
            )
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

    class TestPostgres(DeletingSourceContract):
        @pytest.fixture(scope="class")
        def server(self, tmp_path_factory):
            with postgres.serving(tmp_path_factory.mktemp("postgres")) as url:
                yield url

        @pytest.fixture
        def world(self, server):
            return PostgresWorld(server)


class WebWorld:
    def __init__(self, served: site.Site, root: Path) -> None:
        self.site = served
        self.root = root
        self.texts: dict[str, str] = {}
        self.write()

    def source(self):
        return open_source(
            WebConfig(
                name="s",
                type="web",
                start=[self.site.url("/sitemap.xml")],
                path=str(self.root),
                http=LOOPBACK,
            )
        )

    def write(self):
        urls = "".join(f"<url><loc>{self.site.url(f'/{n}')}</loc></url>" for n in self.texts)
        self.site.pages = {"/sitemap.xml": site.Answer(f"<urlset>{urls}</urlset>".encode())}
        for name, text in self.texts.items():
            self.site.page(f"/{name}", f"<html><body><p>{text}</p></body></html>")

    def put(self, name, text):
        self.texts[name] = text
        self.write()

    def delete(self, name):
        del self.texts[name]
        self.write()
        list(self.source().scan())  # once is not enough: the next scan believes it

    @contextmanager
    def broken(self):
        pages = self.site.pages
        self.site.pages = {"/sitemap.xml": site.Answer(status=403)}
        yield
        self.site.pages = pages


class TestWeb(DeletingSourceContract):
    @pytest.fixture
    def world(self, tmp_path):
        with site.serving() as served:
            yield WebWorld(served, tmp_path)


class RestWorld:
    def __init__(self, served: site.Site) -> None:
        self.site = served
        self.texts: dict[str, str] = {}

    def source(self):
        self.write()
        return open_source(
            RestConfig(
                name="s",
                type="rest",
                url=self.site.url("/api/notes"),
                records="data.notes",
                text="{title}: {body}",
                pagination=Pagination(kind="page", param="page"),
                http=LOOPBACK,
            )
        )

    def write(self):
        notes = [{"id": n, "title": "Note", "body": t} for n, t in self.texts.items()]
        pages = [*([note] for note in notes), []]
        for number, page in enumerate(pages, start=1):
            body = json.dumps({"data": {"notes": page}}).encode()
            self.site.pages[f"/api/notes?page={number}"] = site.Answer(body)

    def put(self, name, text):
        self.texts[name] = text

    def delete(self, name):
        del self.texts[name]

    @contextmanager
    def broken(self):
        made = self.write
        self.write = lambda: None
        made()
        self.site.pages["/api/notes?page=2"] = site.Answer(b'{"data": {"notes": [')
        yield
        self.write = made


class TestRest(DeletingSourceContract):
    @pytest.fixture
    def world(self):
        with site.serving() as served:
            yield RestWorld(served)


class InboxWorld:
    def __init__(self, root: Path) -> None:
        self.root = root / "inbox"
        self.inbox = Inbox(self.root, "s")

    def source(self):
        return open_source(InboxConfig(name="s", type="inbox", path=str(self.root)))

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


class TestInbox(DeletingSourceContract):
    @pytest.fixture
    def world(self, tmp_path):
        return InboxWorld(tmp_path)


class FeedWorld:
    def __init__(self, served: site.Site, root: Path) -> None:
        self.site = served
        self.root = root
        self.texts: dict[str, str] = {}

    def source(self):
        return open_source(
            FeedConfig(
                name="s",
                type="feed",
                feeds=[self.site.url("/feed.xml")],
                articles=False,
                http=LOOPBACK,
                path=str(self.root),
            )
        )

    def put(self, name, text):
        self.texts[name] = text
        items = "".join(
            f"<item><guid>{n}</guid><title>T</title><description>{t}</description></item>"
            for n, t in self.texts.items()
        )
        feed = f"<rss><channel>{items}</channel></rss>"
        self.site.pages = {"/feed.xml": site.Answer(feed.encode())}

    def delete(self, name):
        raise AssertionError("feeds do not delete")

    @contextmanager
    def broken(self):
        pages = self.site.pages
        self.site.pages = {"/feed.xml": site.Answer(b"<html>Sign in first</html>")}
        yield
        self.site.pages = pages


class TestFeed(SourceContract):
    @pytest.fixture
    def world(self, tmp_path):
        with site.serving() as served:
            yield FeedWorld(served, tmp_path)


class NotionWorld:
    """A fake of the two calls that the source makes: one page of results holds two pages."""

    def __init__(self, served: site.Site) -> None:
        self.site = served
        self.pages: dict[str, tuple[str, int]] = {}
        self.edits = 0

    def source(self):
        self.write()
        return open_source(
            NotionConfig(name="s", type="notion", token="t", url=self.site.url(""), http=LOOPBACK)
        )

    def write(self):
        self.site.posts = {"/v1/search": self.search}
        self.site.pages = {}
        for name, (words, _) in self.pages.items():
            block = {
                "id": "b",
                "type": "paragraph",
                "has_children": False,
                "paragraph": {"rich_text": [{"plain_text": words}]},
            }
            answer = json.dumps({"results": [block], "has_more": False}).encode()
            self.site.pages[f"/v1/blocks/{name}/children?page_size=100"] = site.Answer(answer)

    def search(self, asked):
        start = int(asked.get("start_cursor", 0))
        names = sorted(self.pages)
        results = [
            {
                "id": name,
                "url": f"https://notion.example/{name}",
                "last_edited_time": str(self.pages[name][1]),
                "archived": False,
                "properties": {"Name": {"type": "title", "title": [{"plain_text": name}]}},
            }
            for name in names[start : start + 2]
        ]
        more = start + 2 < len(names)
        answer = {"results": results, "has_more": more, "next_cursor": str(start + 2)}
        return site.Answer(json.dumps(answer).encode())

    def put(self, name, words):
        self.edits += 1
        self.pages[name] = (words, self.edits)

    def delete(self, name):
        del self.pages[name]

    @contextmanager
    def broken(self):
        search = self.search
        self.search = lambda asked: (
            site.Answer(b"{}") if asked.get("start_cursor") else search(asked)
        )
        yield
        self.search = search


class TestNotion(DeletingSourceContract):
    @pytest.fixture
    def world(self):
        with site.serving() as served:
            yield NotionWorld(served)
