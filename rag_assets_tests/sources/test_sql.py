import sqlite3
from datetime import UTC, datetime

import pytest
from sqlalchemy import event

from rag_assets.config import SqlConfig
from rag_assets.errors import SourceError
from rag_assets.sources import open_source


@pytest.fixture
def base(tmp_path):
    connection = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    connection.execute(
        "CREATE TABLE tickets"
        " (id INTEGER, subject TEXT, body TEXT, team TEXT, changed TEXT, at TEXT)"
    )
    yield connection
    connection.close()


@pytest.fixture
def open_table(tmp_path):
    def opened(**settings):
        defaults = {
            "url": f"sqlite:///{tmp_path / 'app.db'}",
            "query": "SELECT * FROM tickets WHERE at <> '10:00:00';",
            "text": "{subject}\n\n{body}",
        }
        return open_source(SqlConfig(name="t", type="sql", **{**defaults, **settings}))

    return opened


def insert(base, *rows):
    base.execute("BEGIN")
    base.executemany("INSERT INTO tickets VALUES (?, ?, ?, ?, ?, '')", rows)
    base.execute("COMMIT")


def test_a_row_is_put_together_from_its_columns(base, open_table):
    insert(base, (7, "Printer", "It is broken.", "it", "2026-05-01"))
    source = open_table(
        title="subject",
        uri="https://desk.example/t/{id}",
        updated_at="changed",
        metadata_columns=["team"],
    )
    (entry,) = source.scan()
    assert (entry.key, entry.title, entry.uri) == ("7", "Printer", "https://desk.example/t/7")
    assert (entry.token, entry.size, entry.metadata) == ("2026-05-01", None, {"team": "it"})
    assert source.fetch(entry) == b"Printer\n\nIt is broken."


def test_a_listing_by_time_reads_no_texts(base, open_table):
    insert(base, (1, "s", "b", "it", "2026"))
    statements = []
    source = open_table(updated_at="changed")
    event.listen(
        source._engine, "before_cursor_execute", lambda c, k, sql, *rest: statements.append(sql)
    )
    list(source.scan())
    assert len(statements) == 1
    assert statements[0].startswith("SELECT id, changed FROM (")


def test_texts_are_read_some_hundred_at_a_time(base, open_table):
    insert(base, *((i, f"s{i}", "b", "it", "2026") for i in range(1000)))
    source = open_table(updated_at="changed")
    entries = sorted(source.scan(), key=lambda entry: entry.key)
    statements = []
    event.listen(source._engine, "before_cursor_execute", lambda *args: statements.append(1))
    assert [source.fetch(e) for e in entries] == [f"s{e.key}\n\nb".encode() for e in entries]
    assert len(statements) == 5


def test_a_late_commit_with_an_old_time_is_seen(base, open_table):
    insert(base, (1, "s", "b", "it", "2026-05-02"))
    before = {entry.key for entry in open_table(updated_at="changed").scan()}
    insert(base, (2, "s", "b", "it", "2026-05-01"))
    after = {entry.key for entry in open_table(updated_at="changed").scan()}
    assert after - before == {"2"}


def test_unusable_rows_say_why(base, open_table):
    insert(base, (1, "a", "b", "it", ""), (1, "c", "d", "it", ""), (None, "e", "f", "it", ""))
    insert(base, (4, None, " ", "it", ""))
    assert {entry.key: entry.problem for entry in open_table().scan()} == {
        "1": None,
        "1#row-2": "duplicate id '1': row 2 has the id of an earlier row",
        "#row-3": "row 3 has no id in column 'id'",
        "4": "row 4 has no text",
    }


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"query": "SELECT * FROM nowhere"}, "no such table: nowhere"),
        ({"id": "key"}, "key"),
        ({"url": "nosuch://x"}, "NoSuchModuleError"),
        ({"url": "sqlite:////no/such/folder/app.db"}, "unable to open database file"),
    ],
)
def test_what_cannot_be_queried_is_an_error(base, open_table, settings, why):
    insert(base, (1, "a", "b", "it", ""))
    with pytest.raises(SourceError, match=why):
        list(open_table(**settings).scan())


def test_a_row_that_vanished_cannot_be_fetched(base, open_table):
    insert(base, (1, "a", "b", "it", "1"), (2, "a", "b", "it", "1"))
    source = open_table(updated_at="changed")
    entries = list(source.scan())
    base.execute("DELETE FROM tickets WHERE id = 2")
    with pytest.raises(SourceError, match="the row is gone"):
        source.fetch(entries[1])


def test_a_row_from_the_future_does_not_hide_what_changes_now(base, open_table):
    insert(base, (1, "s", "b", "it", "2099-01-01 00:00:00"), (2, "s", "b", "it", "2026-01-01"))
    source = open_table(updated_at="changed", query="SELECT * FROM tickets")
    cursor = source.changes(None).cursor
    now = datetime.now(UTC).isoformat(sep=" ")[:19]
    base.execute("UPDATE tickets SET changed = ? WHERE id = 2", (now,))
    assert {entry.key for entry in source.changes(cursor).entries} == {"1", "2"}


def test_ids_of_any_kind_are_read_again_by_what_they_were(base, open_table):
    base.execute("CREATE TABLE odd (id, body TEXT, changed TEXT)")
    ids = [7, "8", " 9 ", "a/b c", "x" * 1000, 1.5, "ü'\";--", "id\nof lines"]
    base.executemany("INSERT INTO odd VALUES (?, ?, '1')", [(i, f"text of {i}") for i in ids])
    source = open_table(query="SELECT * FROM odd", text="body", updated_at="changed")
    texts = {entry.key: source.fetch(entry).decode() for entry in source.scan()}
    assert texts == {str(i).strip(): f"text of {i}" for i in ids}
