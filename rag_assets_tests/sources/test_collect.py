"""From a listing to rows: what is fetched, and what is tried again."""

from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest

from rag_assets.config import FilesConfig, InboxConfig
from rag_assets.errors import SourceError
from rag_assets.lake import Lake
from rag_assets.records import RAW_DOCUMENTS
from rag_assets.sources import open_source
from rag_assets.sources.base import Changes, Entry
from rag_assets.sources.collect import collect, compare, list_source
from rag_assets.sources.marks import Mark, identity_of, look


class Flaky:
    """A source that lists everything and cannot fetch some of it."""

    def __init__(self, source, broken: set[str]) -> None:
        self.source, self.broken, self.asked = source, broken, []

    def scan(self):
        return self.source.scan()

    def fetch(self, entry) -> bytes:
        self.asked.append(entry.key)
        if entry.key in self.broken:
            raise SourceError("the server hung up")
        return self.source.fetch(entry)


class Told(Flaky):
    """The same, from a source that tells what changed: nothing."""

    def changes(self, cursor: str | None) -> Changes:
        return Changes([], [], "now")


def test_what_could_not_be_fetched_is_tried_again_until_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(f"text of {name}")
    config = FilesConfig(name="docs", type="files", path=str(folder), buckets=1)
    lake = Lake.at(tmp_path)
    source = Flaky(open_source(config), {"b.txt"})

    def refreshed(previous: pl.DataFrame) -> pl.DataFrame:
        source.asked.clear()
        comparison = compare(config, list_source(config, source), previous)
        return collect(comparison, previous, lake, source, config.partitions)

    first = refreshed(RAW_DOCUMENTS.to_frame())
    assert source.asked == ["a.txt", "b.txt"]
    assert first["problem"].to_list() == [None, "unreadable: the server hung up"]
    for _ in range(3):
        again = refreshed(first)
        assert source.asked == ["b.txt"]
        assert again.equals(first)  # nothing for the later stages to do
    source.broken.clear()
    whole = refreshed(again)
    assert whole["problem"].to_list() == [None, None]
    assert None not in whole["content_hash"].to_list()
    refreshed(whole)
    assert source.asked == []


def test_what_could_not_be_fetched_is_tried_again_though_the_source_tells_of_no_change(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("text")
    config = FilesConfig(name="docs", type="files", path=str(folder), buckets=1)
    lake = Lake.at(tmp_path)
    source = Told(open_source(config), {"a.txt"})
    seen = look(config, source, RAW_DOCUMENTS.to_frame(), None)
    empty = RAW_DOCUMENTS.to_frame()
    first = collect(compare(config, seen.listing, empty), empty, lake, source, config.partitions)
    assert first["problem"].to_list() == ["unreadable: the server hung up"]
    source.broken.clear()
    mark = Mark("now", seen.mark.config, identity_of(first), seen.mark.scanned_at)
    source.scan = None  # it must not be listed again
    again = look(config, source, first, mark)
    whole = collect(compare(config, again.listing, first), first, lake, source, config.partitions)
    assert whole["problem"].to_list() == [None]


class Says(Flaky):
    def __init__(self, entries, error=None) -> None:
        super().__init__(None, set())
        self.entries, self.error = entries, error

    def scan(self):
        yield from self.entries
        if self.error is not None:
            raise self.error


def entry_of(key, modified_at=None):
    return Entry(key, f"x://{key}", key, "t", 1, modified_at)


def test_an_answer_that_no_source_expects_is_told_as_one() -> None:
    config = InboxConfig(name="s", type="inbox")
    for error in (KeyError("id"), TypeError("no list"), ValueError("no time"), OSError("gone")):
        with pytest.raises(SourceError, match=r"source 's'.*nothing of it was changed"):
            list_source(config, Says([], error))


def test_one_key_twice_is_one_document_and_a_problem() -> None:
    found = list_source(InboxConfig(name="s", type="inbox"), Says(map(entry_of, "baabb")))
    assert found.select("doc_id", "problem").rows() == [
        ("s/a", None),
        ("s/a#2", "listed 2 times under one id: only the first counts"),
        ("s/b", None),
        ("s/b#2", "listed 2 times under one id: only the first counts"),
        ("s/b#3", "listed 3 times under one id: only the first counts"),
    ]


def test_since_is_a_day_in_utc() -> None:
    config = InboxConfig(name="s", type="inbox", since=date(2026, 1, 1))
    east = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    west = datetime(2025, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2)))
    found = list_source(config, Says([entry_of("east", east), entry_of("west", west)]))
    assert found["doc_id"].to_list() == ["s/west"]


def test_a_document_that_cannot_be_read_for_whatever_reason_is_quarantined(tmp_path) -> None:
    class Odd(Says):
        def fetch(self, entry):
            raise KeyError("plain_text")

    config = InboxConfig(name="s", type="inbox")
    source = Odd([entry_of("a")])
    listing = list_source(config, source)
    previous = pl.DataFrame(schema=RAW_DOCUMENTS)
    comparison = compare(config, listing, previous)
    rows = collect(comparison, previous, Lake(tmp_path), source, config.partitions)
    assert rows["problem"].to_list() == ["unreadable: KeyError: 'plain_text'"]
