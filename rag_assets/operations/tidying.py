"""Removing what nothing needs any more, by the policy of `upkeep`."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from rag_assets.lake import STAGES
from rag_assets.mirror import Bucket
from rag_assets.operations.history import History
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.sources.removed import collect_removed


def tidy(pipeline: Pipeline, now: datetime) -> dict[str, int]:
    """What was removed: how many of each. A running refresh may count on any of it and is waited
    for.

    Raises: Busy.
    """
    config, storage = pipeline.config, pipeline.storage
    keep = config.upkeep
    with pipeline.refreshing():
        removed: dict[str, Callable[[], int]] = {
            "versions": lambda: _versions(pipeline),
            "partitions": lambda: _partitions(pipeline, now - timedelta(keep.removed_sources)),
            "kept": lambda: collect_removed(config, _bucket(pipeline), now),
            "vectors": lambda: pipeline.collect_embeddings(now),
            "blobs": lambda: _blobs(pipeline),
            "reports": lambda: _reports(pipeline, now - timedelta(keep.receipts)),
            "receipts": lambda: History(storage).forget(now - timedelta(keep.receipts)),
        }
        counts = {what: remove() for what, remove in removed.items()}
        if pipeline.mirror is not None:
            pipeline.mirror.push()
            counts["objects"] = pipeline.mirror.collect()
    for month in pipeline.ledger.months():
        if month < now.strftime("%Y-%m"):
            pipeline.ledger.roll_up(month)
    return counts


def _bucket(pipeline: Pipeline) -> Bucket | None:
    return None if pipeline.mirror is None else pipeline.mirror.bucket


def _versions(pipeline: Pipeline) -> int:
    with pipeline.versions.publishing():
        return len(pipeline.versions.collect_garbage(pipeline.config.index.keep_versions))


def _partitions(pipeline: Pipeline, before: datetime) -> int:
    """Of sources that are configured no longer, or with fewer buckets."""
    configured = set(pipeline.partitions)
    count = 0
    for stage in STAGES:
        for partition in pipeline.lake.partitions(stage):
            path = pipeline.lake.path(stage, partition)
            if partition not in configured and path.stat().st_mtime < before.timestamp():
                pipeline.lake.remove(stage, partition)
                count += 1
    return count


def _blobs(pipeline: Pipeline) -> int:
    """Bytes that no raw document has, those of removed sources that are kept still included."""
    known = pipeline.lake.partitions("raw_documents")
    hashes = pipeline.lake.read("raw_documents", known, ["content_hash"])["content_hash"]
    return pipeline.lake.collect_blobs(set(hashes.drop_nulls()))


def _reports(pipeline: Pipeline, before: datetime) -> int:
    """Evidence about versions that are gone."""
    kept = set(pipeline.versions.sealed())
    count = 0
    for path in (pipeline.versions.root / "reports").glob("*.json"):
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        number = path.stem.partition("-")[0]
        if number.isdigit() and int(number) not in kept and written < before:
            path.unlink(missing_ok=True)
            count += 1
    return count
