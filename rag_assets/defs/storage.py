"""Dagster's SQLite storage with its connections kept open: the same files, a tenth of the time.

The stock storage makes an engine, opens a file, waits for the disk and closes the file again for
every event; a refresh writes more than a hundred. Here each file is opened once, and a commit does
not wait for the disk: after a power failure the last events of a run may be missing, never damaged.
What decides (versions, verdicts, the lake) is not kept here.
"""

import os
import shutil
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
)
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

_OPEN_FILES = 8  # a UI looks through many runs, each a file of its own


class _Engines:
    """One engine a file, the least recently used closed."""

    def __init__(self) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, url: str) -> Engine:
        with self._lock:
            if url not in self._engines:
                self._engines[url] = _engine(url)
            self._engines.move_to_end(url)
            while len(self._engines) > _OPEN_FILES:
                self._engines.popitem(last=False)[1].dispose()
            return self._engines[url]

    def close(self) -> None:
        with self._lock:
            while self._engines:
                self._engines.popitem()[1].dispose()


def _engine(url: str) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=-1,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _without_waiting(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous = NORMAL")

    return engine


class WarmRunStorage(SqliteRunStorage):
    """Runs, in one file."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines = _Engines()
        super().__init__(conn_string, inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection in a transaction."""
        with self._engines.get(self._conn_string).connect() as connection, connection.begin():
            yield connection

    def dispose(self) -> None:
        """Close the file."""
        self._engines.close()


class WarmEventLogStorage(SqliteEventLogStorage):
    """Events: one file a run, one of what concerns assets."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines = _Engines()
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engines.get(self.conn_string_for_shard(shard))
            if shard not in self._initialized_dbs:
                self._make(shard, engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _make(self, shard: str, engine: Engine) -> None:
        """Make the file of a run by copying an empty one: migrations need not be looked up."""
        path = Path(self.path_for_shard(shard))
        if shard == INDEX_SHARD_NAME or path.exists():
            self._initdb(engine)
            return
        empty = path.with_name(f".empty-{dg.__version__}")
        if not empty.exists():
            self._initdb(engine)
            _copy_database(path, empty)
            return
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        shutil.copyfile(empty, temporary)
        try:
            os.link(temporary, path)  # fails where another process was first
        except FileExistsError:
            pass
        finally:
            temporary.unlink()

    def dispose(self) -> None:
        """Close the files."""
        super().dispose()
        self._engines.close()


def _copy_database(source: Path, target: Path) -> None:
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    with closing(sqlite3.connect(source)) as reader, closing(sqlite3.connect(temporary)) as writer:
        reader.backup(writer)
    temporary.replace(target)


class WarmSqliteStorage(DagsterSqliteStorage):
    """Runs, events and schedules under `base_dir`; $DAGSTER_HOME, or ./.dagster without one."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        history = os.path.join(base_dir, "history")
        self._run_storage = WarmRunStorage.from_local(history)
        self._event_log_storage = WarmEventLogStorage(os.path.join(history, "runs"))

    @classmethod
    def config_type(cls) -> dict[str, dg.Field]:
        """What dagster.yaml may say."""
        return {"base_dir": dg.Field(dg.StringSource, is_required=False)}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: dict[str, str]
    ) -> "WarmSqliteStorage":
        """The storage that dagster.yaml describes."""
        base = config_value.get("base_dir") or os.environ.get("DAGSTER_HOME") or ".dagster"
        return cls.from_local(os.path.abspath(base), inst_data=inst_data)
