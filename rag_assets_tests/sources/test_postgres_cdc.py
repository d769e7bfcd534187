"""Logical replication from a real PostgreSQL server."""

import os
import random
import subprocess
import sys
from contextlib import contextmanager

import pytest
import sqlalchemy

from rag_assets.config import PostgresCdcConfig
from rag_assets.errors import SourceError
from rag_assets.sources import open_source
from rag_assets.sources.kept import Kept
from rag_assets_tests.sources import postgres
from rag_assets_tests.sources.contract import DeletingSourceContract, ReachesTheSearch


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if not postgres.available():
        why = "PostgreSQL is not installed: apt-get install postgresql; pip install pg8000"
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    with postgres.serving(tmp_path_factory.mktemp("cdc"), "-c wal_level=logical") as url:
        yield url


class Table:
    def __init__(self, url, root):
        self.url = url
        self.root = root
        engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
        self.base = engine.connect()
        self.drop_slot()
        self.run("DROP PUBLICATION IF EXISTS rag_c")
        self.run("DROP TABLE IF EXISTS notes, others")
        self.run("CREATE TABLE notes (id text PRIMARY KEY, body text, done boolean, n numeric)")

    def run(self, statement, **values):
        return self.base.execute(sqlalchemy.text(statement), values)

    def drop_slot(self):
        self.run(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE slot_name = 'rag_c'"
        )

    def config(self, **settings):
        chosen = {"url": self.url, "table": "notes", "text": "body", "path": str(self.root)}
        return PostgresCdcConfig(name="c", type="postgres_cdc", **chosen | settings)

    def source(self, **settings):
        return open_source(self.config(**settings))

    def texts(self, **settings):
        source = self.source(**settings)
        return {entry.key: source.fetch(entry).decode() for entry in source.scan()}

    def put(self, name, text):
        self.run(
            "INSERT INTO notes VALUES (:name, :text) ON CONFLICT (id) DO UPDATE SET body = :text",
            name=name,
            text=text,
        )

    def delete(self, name):
        self.run("DELETE FROM notes WHERE id = :name", name=name)

    def change(self, chance, names, text, wanted):
        """Put or delete one of so many rows at random, here and in what is `wanted`."""
        name = f"d{chance.randrange(names)}"
        if chance.random() < 0.2:
            self.delete(name)
            wanted.pop(name, None)
        else:
            wanted[name] = text
            self.put(name, text)

    @contextmanager
    def broken(self):
        url = self.url
        self.url = url.replace("/postgres?", "/nowhere?")
        yield
        self.url = url


@pytest.fixture
def table(server, tmp_path):
    found = Table(server, tmp_path)
    yield found
    found.drop_slot()
    found.base.close()


class TestPostgresCdc(DeletingSourceContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, table):
        return table


def test_rows_are_the_same_from_the_table_and_from_the_log(table):
    table.run("INSERT INTO notes VALUES ('1', 'a: ä', true, 1.50), ('2', NULL, false, NULL)")
    fields = {"text": "{body}", "title": "id", "metadata_fields": ["done", "n"]}
    first = list(table.source(**fields).scan())
    assert [entry.metadata for entry in first] == [{"done": "t", "n": "1.50"}, {"done": "f"}]
    table.run("UPDATE notes SET n = n")
    assert list(table.source(**fields).scan()) == first


def test_large_values_that_an_update_leaves_alone_are_still_there(table):
    large = "".join(chr(33 + random.Random(1).randrange(90)) for _ in range(10)) * 20_000
    table.run("ALTER TABLE notes ALTER body SET STORAGE EXTERNAL")
    table.put("a", large)
    table.texts()
    table.run("UPDATE notes SET done = true WHERE id = 'a'")
    assert table.texts() == {"a": large}


def test_an_id_that_changes_is_another_document(table):
    table.put("a", "text")
    table.texts()
    table.run("UPDATE notes SET id = 'b'")
    assert table.texts() == {"b": "text"}


def test_truncate_deletes_all_that_was_there_before(table):
    table.put("a", "text")
    table.texts()
    table.run("BEGIN; TRUNCATE notes; INSERT INTO notes VALUES ('b', 'new'); COMMIT")
    assert table.texts() == {"b": "new"}


def test_the_slot_moves_when_changes_are_kept_and_for_other_tables_too(table, monkeypatch):
    monkeypatch.setattr("rag_assets.sources.postgres_cdc._SLACK", 1000)
    place = "SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = 'rag_c'"
    place = place.replace("::", r"\:\:")
    table.texts()
    before = table.run(place).scalar()
    table.put("a", "text")
    table.texts()
    kept = table.run(place).scalar()
    assert kept > before
    table.run("CREATE TABLE others AS SELECT repeat('x', 100) FROM generate_series(1, 1000)")
    assert table.texts() == {"a": "text"}
    assert table.run(place).scalar() > kept + 50_000


def test_a_lost_slot_means_all_rows_are_read_again(table):
    table.put("a", "one")
    table.put("b", "two")
    table.texts()
    table.drop_slot()
    table.put("a", "ONE")
    table.delete("b")
    assert table.texts() == {"a": "ONE"}
    table.put("c", "three")
    assert table.texts() == {"a": "ONE", "c": "three"}


def test_versions_go_on_behind_a_restored_server(table):
    kept = Kept(table.root, "c")
    table.put("a", "one")
    table.texts()
    from rag_assets.sources.kept import Event

    kept.apply([Event("a", 1 << 60, data=b"of a server whose log was further")])
    table.drop_slot()
    assert table.texts() == {"a": "one"}
    table.put("a", "two")
    assert table.texts() == {"a": "two"}


def test_nothing_is_made_that_was_not_asked_for(table):
    with pytest.raises(SourceError, match="there is no slot 'rag_c'; make one with SELECT"):
        table.texts(declare=False)
    table.run("ALTER TABLE notes REPLICA IDENTITY NOTHING")
    with pytest.raises(SourceError, match="no column 'key'"):
        table.texts(id="key")


def test_batches_of_transactions(table):
    table.texts()
    for number in range(30):
        table.run(f"INSERT INTO notes SELECT '{number}-' || i, 'x' FROM generate_series(1, 7) i")
    assert len(table.texts(batch=10)) == 210


KILLS = [("committed", 1), ("looked", 5), ("before commit", 2), ("committed", 2), ("advanced", 1)]


def follow(table, step, count):
    command = [sys.executable, "-m", "rag_assets_tests.sources.following"]
    arguments = [table.url, str(table.root), step, str(count)]
    return subprocess.run([*command, *arguments], check=False, capture_output=True, timeout=60)


@pytest.mark.parametrize("count", [720, pytest.param(3000, marks=pytest.mark.full)])
def test_kills_between_every_two_steps_lose_nothing(table, count):
    """Puts and deletes of the same rows, some with an id that cannot be one; a kill at each step,
    then to the end."""
    chance, wanted = random.Random(3), {}
    poison = [f"p\n{number}" for number in range(7)]
    for name in range(20):
        table.put(f"d{name}", "before")
        wanted[f"d{name}"] = "before"
    for step, times in [*KILLS, ("none", 1)]:
        for number in range(count // 6):
            table.change(chance, count // 12, f"{step} {times} {number}", wanted)
            if number == 50:
                table.put(chance.choice(poison), "unusable")
        ended = follow(table, step, times)
        assert ended.returncode == (0 if step == "none" else -9), (step, times, ended.stderr)
    for name in poison:
        table.put(name, "unusable")
    assert follow(table, "none", 1).returncode == 0
    kept = Kept(table.root, "c")
    assert {e.key: kept.read(e.key).decode() for e in kept.entries()} == wanted
    assert sorted(letter.name for letter in kept.dead_letters()) == [f"row {p!a}" for p in poison]


def test_two_that_share_a_slot_are_told_and_lose_nothing(table, tmp_path):
    """Knowledge bases with a source of one name on one database: production and its rehearsal."""
    theirs = {"path": str(tmp_path / "theirs")}
    table.put("a", "one")
    assert table.texts() == {"a": "one"}
    assert table.texts(**theirs) == {"a": "one"}
    table.put("b", "two")
    assert table.texts(**theirs) == {"a": "one", "b": "two"}
    with pytest.raises(SourceError, match=r"moved on by somebody else.*its own `slot`"):
        table.texts()
    try:
        assert table.texts(slot="ours", publication="rag_c") == {"a": "one", "b": "two"}
        table.put("c", "three")
        everything = {"a": "one", "b": "two", "c": "three"}
        assert table.texts(**theirs) == everything
        assert table.texts(slot="ours", publication="rag_c") == everything
    finally:
        table.run("SELECT pg_drop_replication_slot('ours')")
