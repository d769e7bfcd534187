"""`python -m benchmarks.retrieval`: ranking quality, one row a step of the search; and its speed.

Each corpus becomes a knowledge base by a real refresh (minutes the first time; kept in --work) and
is asked the same questions in every configuration. In the same run: plain Chroma and plain tantivy
over whole documents; then times on --chunks made-up chunks. --chunking compares sizes and
strategies of chunks instead.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.retrieval_latency import as_table, measure_latency
from benchmarks.retrieval_plain import PlainChroma, PlainTantivy
from rag_assets.config import RetrievalConfig, load_config
from rag_assets.embedding import open_encoder
from rag_assets.evaluation.eval_set import EvalSet, load_eval_set
from rag_assets.evaluation.evaluate import PreparedEncoder, evaluate
from rag_assets.evaluation.report import EvalReport
from rag_assets.evaluation.significance import paired_difference
from rag_assets.index.live import LiveIndex, SealedVersion
from rag_assets.retrieval import SearchRequest, search

ROOT = Path(__file__).resolve().parent.parent
METRICS = ("mrr@10", "ndcg@10", "recall@10")
BASE = "z-score fusion"

Settings = Mapping[str, Any]
_PLAIN: Settings = {"rerank": "none", "weights": {"feedback": 0}}
STEPS: dict[str, Settings] = {
    "dense": {"mode": "dense"},
    "BM25": {"mode": "lexical"},
    "reciprocal rank fusion": {**_PLAIN, "fusion": "rrf"},
    BASE: _PLAIN,
    "+ token rerank": {"weights": {"feedback": 0}},
    "+ feedback": {"rerank": "none"},
    "as shipped": {},
}
CHUNKINGS: dict[str, Settings] = {
    "auto 128/16": {"size": 128, "overlap": 16},
    "auto 192/32": {"size": 192, "overlap": 32},
    "auto 256/0": {"overlap": 0},
    "auto 256/32 (as shipped)": {},
    "auto 256/64": {"overlap": 64},
    "sentence 256/32": {"strategy": "sentence"},
    "auto 256/32 with context": {"context": True},
    "auto 128/16 with context": {"size": 128, "overlap": 16, "context": True},
}


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents, and questions that name the documents which answer them."""

    name: str
    source: Settings
    questions: Path
    format: str


def main() -> None:
    """Measure and print."""
    given = _arguments()
    given.work.mkdir(parents=True, exist_ok=True)
    tables: dict[str, dict[str, EvalReport]] = {}
    for corpus in corpora(given.data):
        if given.corpora is not None and corpus.name not in given.corpora:
            continue
        measure = by_chunking if given.chunking else by_step
        tables[corpus.name] = measure(corpus, given.work, given.queries)
        print(quality_table(corpus.name, tables[corpus.name], given.chunking), flush=True)
    if given.chunks and not given.chunking:
        print(as_table(measure_latency(given.work, given.chunks), given.chunks))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.retrieval", description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "rag-retrieval")
    parser.add_argument("--corpora", nargs="*", help="squad, cranfield, handbook; default: all")
    parser.add_argument("--queries", type=int, default=1000, help="of a corpus, evenly picked")
    parser.add_argument("--chunking", action="store_true")
    parser.add_argument("--chunks", type=int, default=100_000, help="for the times; 0: none")
    return parser.parse_args()


def corpora(data: Path) -> list[Corpus]:
    """The sample handbook, and the BEIR folders under `data`."""
    handbook = {"type": "files", "name": "docs", "path": str(ROOT / "examples" / "handbook")}
    found = [Corpus("handbook", handbook, ROOT / "eval_sets" / "handbook.jsonl", "jsonl")]
    for folder in sorted(data.glob("*/corpus.jsonl")):
        records = {"type": "records", "path": str(folder), "id": "_id", "title": "title"}
        name = folder.parent.name
        found.append(Corpus(name, {**records, "name": name}, folder.parent, "beir"))
    return found


# -- ranking -------------------------------------------------------------------------------------


def by_step(corpus: Corpus, work: Path, queries: int) -> dict[str, EvalReport]:
    """Reports of plain Chroma, plain tantivy and every step of the search."""
    with _Opened(corpus, work, {}, queries) as opened:
        plain = {"plain Chroma": PlainChroma, "plain tantivy": PlainTantivy}
        documents = opened.documents()
        reports = {
            name: opened.report(kind(opened.model, opened.encoder, documents).search)
            for name, kind in plain.items()
        }
        return reports | {name: opened.asked(settings) for name, settings in STEPS.items()}


def by_chunking(corpus: Corpus, work: Path, queries: int) -> dict[str, EvalReport]:
    """Reports of the shipped search over differently cut documents."""
    reports = {}
    for name, profile in CHUNKINGS.items():
        with _Opened(corpus, work, profile, queries) as opened:
            chunks = opened.version.manifest.chunks
            reports[f"{name}, {chunks:,} chunks"] = opened.asked({})
    return reports


class _Opened:
    """A corpus as a live knowledge base, with its questions."""

    def __init__(self, corpus: Corpus, work: Path, profile: Settings, queries: int) -> None:
        self._config = load_config(refreshed(corpus, work, profile))
        self._index = LiveIndex(self._config.storage)
        self._reading = self._index.read(None)
        self.version = self._reading.__enter__()
        names = [source.name for source in self._config.sources]
        held = frozenset(self.version.document_ids())
        every = load_eval_set(corpus.questions, corpus.format, names, held)
        self._questions = _picked(every, queries)
        self.model = open_encoder(self._config.embedding)
        self.encoder = PreparedEncoder(self.model, (q.query for q in self._questions.queries))

    def __enter__(self) -> "_Opened":
        return self

    def __exit__(self, *error: object) -> None:
        self._reading.__exit__(None, None, None)
        self._index.close()

    def asked(self, settings: Settings) -> EvalReport:
        """The report of a search with these settings."""
        retrieval = RetrievalConfig.model_validate(settings)

        def found(query: Any, k: int) -> Sequence[Any]:
            request = SearchRequest(query.query, k, settings=retrieval)
            return search(self.version, self.encoder, request)

        return self.report(found)

    def report(self, search_fn: Callable[..., Sequence[Any]]) -> EvalReport:
        """The report of any search."""
        return evaluate(self.version, self._questions, search_fn, METRICS)

    def documents(self) -> dict[str, str]:
        """Whole documents by id: title and text."""
        return whole_documents(self.version)


def whole_documents(version: SealedVersion) -> dict[str, str]:
    """Title and text of each document, put together from its chunks."""
    every = [version.passages([c])[0] for c in version.columns.chunk_ids]
    texts: dict[str, str] = {}
    ends: dict[str, int] = {}
    for passage in sorted(every, key=lambda p: (p.doc_id, p.start)):
        begun = texts.setdefault(passage.doc_id, passage.title + "\n")
        overlap = max(0, ends.get(passage.doc_id, 0) - passage.start)
        texts[passage.doc_id] = begun + passage.text[overlap:] + " "
        ends[passage.doc_id] = passage.end
    return texts


def refreshed(corpus: Corpus, work: Path, profile: Settings) -> Path:
    """The configuration of a corpus cut this way, refreshed if it was not."""
    words = "-".join(f"{key}-{value}" for key, value in sorted(profile.items()))
    home = work / f"{corpus.name}-{words or 'default'}"
    home.mkdir(parents=True, exist_ok=True)
    path = home / "knowledge_base.yaml"
    config = {
        "name": corpus.name,
        "storage": str(home / "storage"),
        "sources": [dict(corpus.source)],
        "chunking": {"default": dict(profile)},
    }
    path.write_text(yaml.safe_dump(config))
    environment = {**os.environ, "DAGSTER_HOME": ""}
    start = "from rag_assets.cli import main; main()"
    command = [sys.executable, "-c", start, "refresh", "--config", str(path), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return path


def _picked(every: EvalSet, count: int) -> EvalSet:
    """At most `count` questions, evenly spread over the set."""
    if len(every.queries) <= count:
        return every
    places = np.linspace(0, len(every.queries) - 1, count).round().astype(int)
    return replace(every, queries=tuple(every.queries[place] for place in places))


def quality_table(name: str, reports: Mapping[str, EvalReport], chunking: bool) -> str:
    """A markdown table: means with 95 % intervals, and the difference to a base row."""
    base = next((r for n, r in reports.items() if (("shipped" in n) if chunking else n == BASE)))
    questions = len(base.judged)
    lines = [
        f"\n{name}, {questions} questions\n",
        f"| | {' | '.join(METRICS)} | MRR against the base, 95 % | p50 ms | p95 ms |",
        "|---|" + "---|" * (len(METRICS) + 3),
    ]
    values = [result.value("mrr@10") for result in base.judged]
    for row, report in reports.items():
        cells = [
            f"{report.metrics[m]:.3f} [{report.ci95[m][0]:.3f}, {report.ci95[m][1]:.3f}]"
            for m in METRICS
        ]
        found = paired_difference([r.value("mrr@10") for r in report.judged], values)
        cells.append(f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]")
        cells += [f"{report.latency(percent):.1f}" for percent in (50, 95)]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
