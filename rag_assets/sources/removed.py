"""What was kept of sources that the configuration no longer names.

    STORAGE/TYPE/NAME/REMOVED      since when the source is missed, written when that is noticed
    PREFIX/kept/NAME/REMOVED       the same of a storage in a bucket

What a queue or a bot told cannot be asked for again: a source that was renamed by mistake, or left
out for a week, shall find it when it comes back under its name.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from rag_assets.config import FilesConfig, KeptSource, KnowledgeBaseConfig
from rag_assets.errors import StorageError
from rag_assets.mirror.bucket import Bucket, failures

_MARK = "REMOVED"
# What makes a folder one that a source keeps documents in.
_SIGNS = ("kept.sqlite3", "pages.json", "repository.git", ".journal", "??/*.doc")


def removed_folders(config: KnowledgeBaseConfig) -> list[Path]:
    """The folders in the storage's directory of sources that are configured no longer."""
    types = sorted({"files", *_types()})
    named = {Path(path) for path in _places(config).values()}
    found = (path for kind in types for path in sorted(Path(config.storage, kind).glob("*")))
    return [path for path in found if path not in named and path.is_dir() and _is_kept(path)]


def collect_removed(config: KnowledgeBaseConfig, bucket: Bucket | None, now: datetime) -> int:
    """Remove what is kept of sources that have been missed for `upkeep.removed_sources` days.

    Returns of how many places. Raises: StorageError when the bucket cannot be asked.
    """
    days = config.upkeep.removed_sources
    count = 0
    for folder in removed_folders(config):
        mark = folder / _MARK
        if not mark.exists():
            mark.write_text(now.isoformat())
        if _is_over(mark.read_text(), days, now):
            shutil.rmtree(folder)
            count += 1
    for path in map(Path, _places(config).values()):
        (path / _MARK).unlink(missing_ok=True)
    if bucket is not None:
        try:
            count += _collected(bucket, set(_places(config)), days, now)
        except failures() as error:
            raise StorageError(
                f"{bucket.url}/kept: what is kept of removed sources cannot be removed ({error})"
            ) from error
    return count


def _collected(bucket: Bucket, named: set[str], days: int, now: datetime) -> int:
    found: dict[str, list[str]] = {}
    for item in bucket.items("kept"):
        found.setdefault(item.path.split("/")[1], []).append(item.path)
    count = 0
    for name, paths in found.items():
        mark = f"kept/{name}/{_MARK}"
        if name in named:
            bucket.delete({mark} & set(paths))
            continue
        if mark not in paths:
            bucket.put(mark, now.isoformat().encode())
        said = bucket.read(mark)
        if said is not None and _is_over(said[0].decode(), days, now):
            # First what names the batches, and last by what the next call goes on.
            head = f"kept/{name}/HEAD.json"
            bucket.delete({head} & set(paths))
            bucket.delete(path for path in paths if path not in {head, mark})
            bucket.delete([mark])
            count += 1
    return count


def _is_over(since: str, days: int, now: datetime) -> bool:
    return (now - datetime.fromisoformat(since).astimezone(UTC)).total_seconds() >= days * 86_400


def _places(config: KnowledgeBaseConfig) -> dict[str, str]:
    """Name → folder of every source that keeps something."""
    kept = {one.name: one.path for one in config.sources if isinstance(one, KeptSource)}
    events = {
        one.name: one.events.path
        for one in config.sources
        if isinstance(one, FilesConfig) and one.events is not None
    }
    return {**kept, **events}


def _is_kept(folder: Path) -> bool:
    return any(next(folder.glob(sign), None) is not None for sign in _SIGNS)


def _types(base: type[KeptSource] = KeptSource) -> Iterator[str]:
    """The types of the sources that keep documents."""
    for kind in base.__subclasses__():
        yield from get_args(kind.model_fields["type"].annotation)
        yield from _types(kind)
