"""How long a search takes on made-up chunks, warm, with and without filters."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.serving import passage, question
from rag_assets.config import load_config
from rag_assets.embedding import open_encoder
from rag_assets.evaluation.evaluate import PreparedEncoder
from rag_assets.index.live import LiveIndex, SealedVersion
from rag_assets.retrieval import SearchRequest, search

_QUESTIONS = 300
_SHARES = {
    "no filter": None,
    "90 % allowed": 0.9,
    "50 %": 0.5,
    "10 %": 0.1,
    "1 %": 0.01,
    "0.1 %": 0.001,
}


def measure_latency(work: Path, chunks: int) -> dict[str, list[float]]:
    """Milliseconds of each search, by what was measured; embedding the question apart."""
    from benchmarks.retrieval import Corpus, refreshed

    file = work / f"made-{chunks}.parquet"
    if not file.exists():
        shares = np.random.default_rng(7).random(chunks)
        rows = {
            "id": [str(n) for n in range(chunks)],
            "text": [passage(n) for n in range(chunks)],
            "share": shares,
        }
        pl.DataFrame(rows).write_parquet(file)
    source = {"type": "records", "name": "made", "path": str(file), "buckets": 16}
    made = Corpus(f"made-{chunks}", source, file, "jsonl")
    config = load_config(refreshed(made, work, {}))
    texts = [question(number) for number in range(_QUESTIONS)]
    encoder = open_encoder(config.embedding)
    prepared = PreparedEncoder(encoder, texts)
    index = LiveIndex(config.storage)
    with index.read(None) as version:
        version.warm()
        found = {name: _times(version, prepared, texts, share) for name, share in _SHARES.items()}
        found["no filter, with embedding"] = _times(version, encoder, texts, None)
        found["plain Chroma's part (dense leg)"] = [
            _timed(lambda text=text: version.dense(prepared.encode_query(text), 100))
            for text in texts
        ]
        found["plain tantivy's part (BM25 leg)"] = [
            _timed(lambda text=text: version.lexical(text, 100)) for text in texts
        ]
    index.close()
    return found


def _times(
    version: SealedVersion, encoder: object, texts: list[str], share: float | None
) -> list[float]:
    where = None if share is None else {"share": {"$lt": share}}
    requests = [SearchRequest(text, where=where) for text in texts]
    for request in requests[:20]:
        search(version, encoder, request)  # type: ignore[arg-type]
    return [_timed(lambda r=request: search(version, encoder, r)) for request in requests]


def _timed(call: object) -> float:
    start = time.perf_counter()
    call()  # type: ignore[operator]
    return (time.perf_counter() - start) * 1000


def as_table(found: Mapping[str, list[float]]) -> str:
    """A markdown table of percentiles."""
    lines = ["\n| latency | p50 ms | p95 ms |", "|---|---|---|"]
    for name, times in found.items():
        lines.append(
            f"| {name} | {np.percentile(times, 50):.1f} | {np.percentile(times, 95):.1f} |"
        )
    return "\n".join(lines)
