"""What it costs to see 100 changed rows of a million: `python -m benchmarks.sql_changes [ROWS]`.

The whole first step of a refresh: the snapshot is read from the lake, the table is asked for its
changes, both are compared. Beside it a scan of all rows. Wall and CPU seconds of this process.
"""

import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from rag_assets.config import KnowledgeBaseConfig, SqlConfig
from rag_assets.refresh.pipeline import Options, Pipeline
from rag_assets.sources import open_source
from rag_assets.sources.collect import list_source


def table(folder: Path, rows: int) -> sqlite3.Connection:
    base = sqlite3.connect(folder / "app.db", isolation_level=None)
    base.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT, changed TEXT)")
    base.execute("CREATE INDEX by_time ON notes (changed)")
    base.execute("BEGIN")
    base.executemany(
        "INSERT INTO notes VALUES (?, ?, datetime('2025-01-01', ? || ' seconds'))",
        ((number, f"note {number} " * 8, str(number)) for number in range(rows)),
    )
    base.execute("COMMIT")
    return base


def timed(name, call):
    wall, cpu = time.perf_counter(), time.process_time()
    found = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name}: {wall:.2f} s wall, {cpu:.2f} s CPU", flush=True)
    return found


def snapshot(pipeline: Pipeline, config: SqlConfig) -> None:
    """The lake as a refresh leaves it, without the bytes of a million documents."""
    [item] = pipeline.list_sources(Options())
    hashes = item.listing.select(content_hash=pl.col("token"), digest=pl.col("token"))
    frame = item.listing.with_columns(*hashes, held=pl.lit(False), attributes=pl.lit("0" * 32))
    from rag_assets.records import RAW_DOCUMENTS, checked

    frame = checked(frame, RAW_DOCUMENTS, "raw_documents")
    pipeline.lake.write("raw_documents", config.partitions, frame)
    previous = pipeline.lake.read("raw_documents", config.partitions)
    pipeline._marks.write(config.name, item.mark, previous)


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = table(folder, rows)
        config = SqlConfig(
            name="notes",
            type="sql",
            url=f"sqlite:///{folder / 'app.db'}",
            query="SELECT * FROM notes",
            text="body",
            updated_at="changed",
        )
        whole = KnowledgeBaseConfig(name="bench", storage=str(folder / "store"), sources=[config])
        pipeline = Pipeline(whole)
        snapshot(pipeline, config)
        base.execute(
            "UPDATE notes SET changed = datetime('2026-01-01') WHERE id % ? = 0", (rows // 100,)
        )
        timed(f"scan of {rows:,} rows", lambda: list_source(config, open_source(config)))
        [found] = timed("first step, changes alone", lambda: pipeline.list_sources(Options()))
        print("to fetch:", found.comparison.to_fetch.height)
        timed("of it, the snapshot", lambda: pipeline.lake.read("raw_documents", config.partitions))
        timed(
            "of it, the table",
            lambda: open_source(config).changes(pipeline._marks.read("notes").cursor),
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 1_000_000)
