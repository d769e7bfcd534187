"""Sources that tell their changes are listed in full only when they must be."""

import sqlite3

import pytest

from rag_assets.refresh.pipeline import Options, Pipeline
from rag_assets.refresh.plan import plan_refresh
from rag_assets.sources.sql import SqlSource


class Notes:
    """A table, a knowledge base over it, and the scans that it took."""

    def __init__(self, small, monkeypatch):
        self.base = sqlite3.connect(small.root / "app.db", isolation_level=None)
        self.base.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT, changed TEXT)")
        self.small = small
        self.minute = 0
        self.scans = 0
        scan = SqlSource.scan

        def counted(source):
            self.scans += 1
            return scan(source)

        monkeypatch.setattr(SqlSource, "scan", counted)
        self.configure()

    def configure(self, **more):
        url = f"sqlite:///{self.small.root / 'app.db'}"
        source = {"name": "notes", "type": "sql", "url": url, "query": "SELECT * FROM notes"}
        source |= {"text": "body", "updated_at": "changed", "buckets": 2, "delete_guard": 1.0}
        self.config = self.small.configure(sources=[source | more])

    def put(self, *identities):
        self.minute += 10
        moment = f"2026-05-01 {self.minute // 60:02d}:{self.minute % 60:02d}:00"
        for number in identities:
            text = f"Note {number} about umbrellas, written at {moment} in room {number}."
            self.base.execute(
                "INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (number, text, moment)
            )

    def delete(self, identity):
        self.base.execute("DELETE FROM notes WHERE id = ?", (identity,))

    def refresh(self, *, written=True, only=None, **options):
        """The first stage of a refresh: listed, fetched and deleted documents, and scans."""
        self.scans = 0
        pipeline = Pipeline(self.config)
        chosen = only or pipeline.partitions
        frame, [item] = pipeline.raw_documents(chosen, Options(**options))
        if written:
            pipeline.lake.write("raw_documents", chosen, frame)
        found = item.comparison
        return (found.listed, found.to_fetch.height, len(found.gone)), self.scans


@pytest.fixture
def notes(small, monkeypatch):
    return Notes(small, monkeypatch)


def test_after_the_first_refresh_changes_are_enough(notes):
    notes.put(1, 2, 3)
    assert notes.refresh() == ((3, 3, 0), 1)
    assert notes.refresh() == ((3, 0, 0), 0)
    notes.put(2, 4)
    assert notes.refresh() == ((4, 2, 0), 0)
    notes.put(4)
    assert notes.refresh() == ((4, 1, 0), 0)


def test_a_whole_refresh_with_changes_alone(notes):
    notes.put(1, 2, 3)
    notes.small.refresh()
    notes.scans = 0
    notes.put(2, 4)
    counts = notes.small.refresh()["documents"]
    assert (counts["listed"], counts["added"], counts["changed"]) == (4, 1, 1)
    assert notes.scans == 0


def test_a_deletion_shows_in_the_count_and_asks_for_a_scan(notes):
    notes.put(1, 2, 3)
    notes.refresh()
    notes.delete(2)
    notes.put(1)
    assert notes.refresh() == ((2, 1, 1), 1)
    assert notes.refresh() == ((2, 0, 0), 0)


def test_a_deletion_hidden_by_an_addition_is_found_by_the_sweep(notes):
    notes.put(1, 2, 3)
    notes.refresh()
    notes.delete(2)
    # One row less, and one that its time does not tell: the count comes out.
    notes.base.execute("INSERT INTO notes VALUES (9, 'late', '2020-01-01 00:00:00')")
    assert notes.refresh() == ((3, 0, 0), 0)
    assert notes.refresh(audit=True) == ((3, 3, 1), 1)
    assert notes.refresh() == ((3, 0, 0), 0)


def test_rows_committed_late_are_within_the_overlap(notes):
    notes.put(1, 2)
    notes.refresh()
    notes.base.execute(
        "UPDATE notes SET body = 'Other words about the umbrella.', changed = '2026-05-01 00:06:00'"
        " WHERE id = 1"
    )
    assert notes.refresh() == ((2, 1, 0), 0)


def test_another_configuration_or_a_full_refresh_lists_everything(notes):
    notes.put(1, 2)
    notes.refresh()
    assert notes.refresh(audit=True)[1] == 1
    assert notes.refresh()[1] == 0
    notes.configure(metadata={"team": "hr"})
    assert notes.refresh()[1] == 1
    assert notes.refresh()[1] == 0
    notes.configure(sweep_hours=1e-9)
    assert notes.refresh()[1] == 1


def test_a_snapshot_that_was_not_written_makes_its_mark_worthless(notes):
    notes.put(1, 2)
    notes.refresh()
    notes.put(2)
    assert notes.refresh(written=False) == ((2, 1, 0), 0)  # and then the power fails
    assert notes.refresh() == ((2, 1, 0), 1)
    assert notes.refresh() == ((2, 0, 0), 0)


def test_a_mark_waits_for_the_partitions_that_were_left_out(notes):
    notes.put(*range(1, 9))
    notes.refresh()
    notes.configure(metadata={"team": "hr"})
    assert notes.refresh(only=["notes:00"])[1] == 1
    assert notes.refresh()[1] == 1
    assert notes.refresh()[1] == 0


def test_a_patient_plan_looks_at_a_source_once_in_its_time(notes):
    notes.put(1, 2)
    notes.configure(every=3600.0, updated_at=None)
    notes.refresh()
    notes.scans = 0
    pipeline = Pipeline(notes.config)

    def changed(**options):
        return plan_refresh(pipeline, Options(**options)).reasons.get("changed in notes", 0)

    assert changed(patient=True) == 0
    notes.put(2)
    assert changed(patient=True) == 0
    assert notes.scans == 1
    assert changed() == 1
    notes.refresh()
    notes.put(1)
    assert changed(patient=True) == 1
    assert changed(patient=True) == 1
