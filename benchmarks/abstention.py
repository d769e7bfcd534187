"""`python -m benchmarks.abstention`: what is left unanswered, and rightly?

Of the queries of a set 100 are drawn that teach what a confidence means, and the others are judged
by it; forty times over. Sets: the sample handbook with its own; and, where --data holds one, a
corpus in BEIR's form of which a part of the documents is left out, so that their queries have no
answer there.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import dagster as dg
import numpy as np
import yaml

from rag_assets.answering.calibration import Sample, at_share, auroc, learn
from rag_assets.config import load_config
from rag_assets.defs.execute import Refresher
from rag_assets.evaluation.eval_set import load_eval_set
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.refresh.calibrating import samples_of
from rag_assets.refresh.pipeline import Options, Pipeline

ROOT = Path(__file__).resolve().parent.parent
KEPT, LEFT_OUT = 400, 250  # queries of either kind that are asked of a corpus
TAUGHT, DRAWS = 100, 40

Row = dict[str, Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="Of a corpus: corpus.jsonl, queries.jsonl, qrels")
    parser.add_argument("--seed", type=int, default=1, help="Of what is left out.")
    parser.add_argument("--shares", type=float, nargs="+", default=[1, 0.95, 0.9, 0.85])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bases = [_handbook(Path(folder) / "handbook")]
        if given.data:
            bases.append(_corpus(Path(folder) / "corpus", given.data, given.seed))
        for root, rows in bases:
            samples = _samples_of(root, rows)
            for share in given.shares:
                print(f"{root.name}, answer_share {share}: {_measured(samples, share)}")


def _handbook(root: Path) -> tuple[Path, list[Row]]:
    source = {"name": "docs", "type": "files", "path": str(ROOT / "examples/handbook")}
    _configure(root, source)
    return root, _read(ROOT / "eval_sets/handbook.jsonl")


def _corpus(root: Path, data: Path, seed: int) -> tuple[Path, list[Row]]:
    """One title in eight is left out whole, and of the others every fourth document."""
    documents, relevant = _read(data / "corpus.jsonl"), _relevant(data)
    gone = {
        d["_id"]
        for d in documents
        if not _chance(d["title"], seed) % 8 or not _chance(d["_id"], seed) % 4
    }
    source = {"name": "corpus", "type": "records", "path": "./corpus.jsonl"}
    _configure(root, {**source, "id": "_id", "title": "title", "text": "text"})
    kept = [json.dumps(d) for d in documents if d["_id"] not in gone]
    (root / "corpus.jsonl").write_text("\n".join(kept))
    rows: list[Row] = []
    for query in sorted(_read(data / "queries.jsonl"), key=lambda q: _chance(q["_id"], seed)):
        found = relevant.get(query["_id"], set())
        row = {"id": query["_id"], "query": query["text"], "relevant": []}
        if found and found <= gone:
            rows.append(row)
        elif found and not found & gone:
            rows.append({**row, "relevant": [f"corpus/{one}" for one in sorted(found)]})
    answerable = [row for row in rows if row["relevant"]]
    return root, [*answerable[:KEPT], *[r for r in rows if not r["relevant"]][:LEFT_OUT]]


def _relevant(data: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for file in sorted((data / "qrels").glob("*.tsv")):
        for line in file.read_text().splitlines()[1:]:
            query, document, grade = line.split("\t")
            if int(grade) > 0:
                found.setdefault(query, set()).add(document)
    return found


def _samples_of(root: Path, rows: Sequence[Row]) -> list[Sample]:
    """Every query, asked with everything and with the documents that answer it left out."""
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = load_config(root / "knowledge_base.yaml")
    with dg.DagsterInstance.ephemeral() as instance:
        version = Refresher(config, instance).refresh(Options())["version"]
    pipeline = Pipeline(config)
    queries = load_eval_set(root / "queries.jsonl").queries
    with KnowledgeBase(config) as knowledge:
        return list(samples_of(knowledge, version, queries, pipeline.sentences.encode))


def _measured(samples: Sequence[Sample], share: float) -> str:
    """Means and standard deviations over the draws, of queries that taught nothing."""
    drawn = [_draw(samples, share, np.random.default_rng(seed)) for seed in range(DRAWS)]
    found = [f"{np.mean(c):.3f} ± {np.std(c):.3f}" for c in zip(*drawn, strict=True)]
    names = ("AUROC right", "AUROC answerable", "answered", "rightly", "left alone")
    return ", ".join(f"{name} {value}" for name, value in zip(names, found, strict=True))


def _draw(samples: Sequence[Sample], share: float, rng: np.random.Generator) -> list[float]:
    answerable = sorted({sample.query for sample in samples if sample.known})
    others = sorted({sample.query for sample in samples} - set(answerable))
    few = min(TAUGHT // 3, round(0.6 * len(others)))
    taught = {*rng.permutation(others)[:few], *rng.permutation(answerable)[: TAUGHT - few]}
    learnt = learn([sample for sample in samples if sample.query in taught])
    assert learnt is not None
    calibration = at_share(learnt, share)
    asked = [s for s in samples if s.query not in taught and not s.made]
    scores = np.array([calibration.confidence(sample.signals) for sample in asked])
    right, known = (np.array([getattr(s, name) for s in asked]) for name in ("right", "known"))
    said = scores >= calibration.abstain_below
    areas = [auroc(scores, right) or 0.0, auroc(scores, known) or 0.0]
    rates = [said[known].mean(), (said & right)[known].mean(), (~said[~known]).mean()]
    return [*areas, *map(float, rates)]


def _configure(root: Path, source: Row) -> None:
    root.mkdir(parents=True)
    settings = {"name": root.name, "storage": "./store", "sources": [source]}
    (root / "knowledge_base.yaml").write_text(yaml.safe_dump(settings))


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _chance(text: str, seed: int) -> int:
    return crc32(f"{seed} {text}".encode()) >> 4


if __name__ == "__main__":
    main()
