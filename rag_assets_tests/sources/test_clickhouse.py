"""The `sql` source on ClickHouse's own engine, which runs within the process."""

import os
from contextlib import contextmanager
from importlib.util import find_spec

import pytest
from sqlalchemy import create_engine, text

from rag_assets.config import SqlConfig
from rag_assets.sources import open_source
from rag_assets_tests.sources.contract import DeletingSourceContract, ReachesTheSearch

WHY_NOT = "ClickHouse's engine is not installed: pip install chdb clickhouse-connect"


class Table:
    """Rows of a table that keeps the newest row of each id."""

    def __init__(self, folder) -> None:
        self.url = f"clickhousedb:///default?interface=chdb&path={folder}"
        self.engine = create_engine(self.url)
        self.run("DROP TABLE IF EXISTS notes")
        self.run("DROP TABLE IF EXISTS away")
        self.run(
            "CREATE TABLE notes (id String, body String, changed DateTime64(6, 'UTC'))"
            " ENGINE = ReplacingMergeTree(changed) ORDER BY id"
        )

    def run(self, statement, **values):
        with self.engine.connect() as connection:
            connection.execute(text(statement), values)

    def config(self, **settings):
        chosen = {"query": "SELECT * FROM notes FINAL", "text": "body", "updated_at": "changed"}
        return SqlConfig(name="s", type="sql", url=self.url, **chosen | settings)

    def put(self, name, body):
        self.run("INSERT INTO notes VALUES (:name, :body, now64(6))", name=name, body=body)

    def delete(self, name):
        self.run("DELETE FROM notes WHERE id = :name", name=name)

    @contextmanager
    def broken(self):
        self.run("RENAME TABLE notes TO away")
        yield
        self.run("RENAME TABLE away TO notes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if find_spec("chdb") is None or find_spec("clickhouse_connect") is None:
        assert not os.environ.get("CI"), WHY_NOT
        pytest.skip(WHY_NOT)
    return tmp_path_factory.mktemp("clickhouse")  # one for the process: the engine opens no second


@pytest.fixture
def table(folder):
    return Table(folder)


class TestClickHouse(DeletingSourceContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, table):
        return table


def test_changes_are_asked_for_by_time_and_counted(table):
    table.put("a", "one")
    table.put("b", "two")
    begin = open_source(table.config()).changes(None)
    assert begin.total == 2
    table.put("a", "ONE")
    table.put("c", "three")
    found = open_source(table.config(overlap=0.0)).changes(begin.cursor)
    assert {entry.key for entry in found.entries} >= {"a", "c"}
    assert found.total == 3
    table.delete("b")
    assert open_source(table.config()).changes(found.cursor).total == 2
