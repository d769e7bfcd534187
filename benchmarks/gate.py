"""`python -m benchmarks.gate`: is the gate right, how much can it see, and what does it cost?

simulate: many pairs of runs of one configuration, and of a worse one; how often each is refused.
trials: the sample handbook, spoilt in known ways by real refreshes; what refused each.
speed: judging 20,000 chunks by 1,000 questions, and comparing two versions.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zlib import crc32

import dagster as dg
import numpy as np
import yaml

from rag_assets.config import EmbeddingConfig, Gate, KnowledgeBaseConfig, load_config
from rag_assets.defs.execute import Refresher
from rag_assets.embedding import open_encoder
from rag_assets.embedding.base import Batch
from rag_assets.errors import RagError
from rag_assets.evaluation.compare import compare_reports
from rag_assets.evaluation.eval_set import EvalQuery, EvalSet
from rag_assets.evaluation.evaluate import AT_ONCE, PreparedEncoder, evaluate
from rag_assets.evaluation.expectations import judge_expected_documents
from rag_assets.evaluation.gate import REGRESSION_METRICS, judge_quality, judge_regression
from rag_assets.evaluation.known_items import Probe, ProbeResult, judge_known_items
from rag_assets.evaluation.report import EvalReport, QueryResult
from rag_assets.index.lexical import terms
from rag_assets.refresh import candidate
from rag_assets.refresh.pipeline import Options, Pipeline
from rag_assets.retrieval import SearchRequest, search
from rag_assets.retrieval.base import Hit

ROOT = Path(__file__).resolve().parent.parent
SEED = 20_261_126
PARTS = ["simulate", "trials", "speed"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"Of {', '.join(PARTS)}; default: all.")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "gate")
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--only", default="", help="Trials whose name holds these words.")
    given = parser.parse_args()
    given.parts = given.parts or PARTS
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: expected any of {', '.join(PARTS)}")
    if "simulate" in given.parts:
        simulate(given.pairs)
        simulate_whole(given.pairs)
    if "trials" in given.parts:
        trials(given.work / "trials", given.only)
    if "speed" in given.parts:
        speed(given.work / "speed")


# -- simulation ------------------------------------------------------------------------------------


def simulate(pairs: int) -> None:
    """How often the gate refuses, by how many queries it has and how much is really lost."""
    print(f"\n{pairs} pairs of equals a cell, seed {SEED}: share refused\n")
    print("| queries | significance alone | with max_regression 0.02 |\n|---|---|---|")
    for queries in (50, 200, 1000):
        alone, both = (_refusals(queries, 0.0, pairs, tolerance)[0] for tolerance in (0.0, 0.02))
        print(f"| {queries} | {alone:.3f} | {both:.3f} |", flush=True)
    few, losses = max(20, pairs // 4), (0.02, 0.05, 0.1, 0.2)
    print(f"\n{few} pairs a cell: share refused (undecided), by the share of queries lost\n")
    print("| queries | " + " | ".join(f"{loss:.0%} lost" for loss in losses) + " |")
    print("|---" * (len(losses) + 1) + "|")
    for queries in (50, 200, 1000):
        cells = [_refusals(queries, loss, few, 0.02) for loss in losses]
        shown = " | ".join(f"{refused:.2f} ({unsure:.2f})" for refused, unsure in cells)
        print(f"| {queries} | {shown} |", flush=True)


# What each side is like where nothing is wrong: documents found by their own words, unanswerable
# queries left alone, others answered, and documents that went because they should.
_FOUND, _SILENT, _ANSWERED, _GONE = 0.97, 0.8, 0.75, 0.01
_WHOLE = {"recall@5": 0.0, "mrr@10": 0.0, "abstention": 0.6, "answered": 0.55}


def simulate_whole(pairs: int) -> None:
    """How often any blocking check refuses: nothing changed, a neutral change, one in two sets."""
    print(f"\nAll blocking checks together, {pairs} pairs a cell: share refused (undecided)\n")
    columns = {"identical": (0.0, 1, True), "neutral": (0.0, 1, False)}
    columns |= {"neutral, two sets": (0.0, 2, False), "10 % lost": (0.1, 1, False)}
    print("| queries | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for queries in (50, 200, 1000):
        count = pairs if queries < 1000 else max(20, pairs // 4)
        cells = [_whole(queries, *column, count) for column in columns.values()]
        shown = " | ".join(f"{refused:.3f} ({unsure:.3f})" for refused, unsure in cells)
        print(f"| {queries} | {shown} |", flush=True)


def _whole(
    queries: int, loss: float, sets: int, identical: bool, pairs: int
) -> tuple[float, float]:
    rng = np.random.default_rng([SEED, queries, round(loss * 1000), sets, identical])
    refused = unsure = 0
    for _ in range(pairs):
        old, new = [], []
        for number in range(sets):
            base = rng.choice([1, 1, 1, 2, 3, 5, 0], queries // sets)
            ranks = _moved(rng, base)
            other = ranks if identical else _moved(rng, base)
            old.append(replace(_report(ranks), name=f"set{number}"))
            new.append(_asked(rng, np.where(rng.random(len(base)) < loss, 0, other), number))
        # The floors that somebody sets who looked at the live version: 0.05 below it.
        lowest = {m: max(0.0, min(r.metric(m) for r in old) - 0.05) for m in REGRESSION_METRICS}
        gate = Gate.model_validate(_WHOLE | lowest)
        gone = set() if identical else {n for n in range(100) if rng.random() < _GONE}
        held = {f"d{n}": str(n) for n in range(100)}
        expecting = [
            EvalQuery(str(n), str(n), {f"d{rng.integers(100)}": 1}) for n in range(queries)
        ]
        found = rng.random(40) < _FOUND
        outcomes = (
            judge_quality(new, gate),
            judge_regression(new, old, gate),
            judge_known_items(
                [ProbeResult(Probe("d", "c", "q"), bool(f), ()) for f in found], gate.known_items
            ),
            judge_expected_documents(
                [EvalSet("set", "hash", tuple(expecting))],
                held,
                {d: c for d, c in held.items() if int(c) not in gone},
                gate,
            ),
        )
        refused += any(not outcome.passed for outcome in outcomes)
        unsure += any(not outcome.decided for outcome in outcomes)
    return refused / pairs, unsure / pairs


def _asked(rng: np.random.Generator, ranks: np.ndarray, number: int) -> EvalReport:
    """A report whose answerer was asked 40 of the queries, and 15 that have no answer."""
    results = list(_report(ranks).results)
    for place in range(min(40, len(results))):
        silent = bool(rng.random() >= _ANSWERED)
        results[place] = replace(results[place], abstained=silent)
    for place in range(15):
        query = EvalQuery(f"none{place}", f"none {place}", {})
        silent = bool(rng.random() < _SILENT)
        results.append(QueryResult(query, {}, (), (), 1.0, abstained=silent))
    return EvalReport(2, f"set{number}", "hash", tuple(results))


def _refusals(queries: int, loss: float, pairs: int, tolerance: float) -> tuple[float, float]:
    rng = np.random.default_rng([SEED, queries, round(loss * 1000)])
    gate = Gate.model_validate({"recall@5": 0.0, "mrr@10": 0.0, "max_regression": tolerance})
    refused = unsure = 0
    for _ in range(pairs):
        base = rng.choice([1, 1, 1, 2, 3, 5, 0], queries)
        old, new = (_moved(rng, base) for _ in range(2))
        new = np.where(rng.random(queries) < loss, 0, new)
        outcome = judge_regression([_report(new)], [_report(old)], gate)
        refused += not outcome.passed
        unsure += not outcome.decided
    return refused / pairs, unsure / pairs


def _moved(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    """Ranks of one run: half of the queries move a place or stay, 0 is not found."""
    moved = (rng.random(len(base)) < 0.5) & (base > 0)
    ranks = np.where(moved, base + rng.integers(-1, 2, len(base)), base)
    return np.where(ranks > 9, 0, np.maximum(ranks, base > 0))


def _report(ranks: np.ndarray) -> EvalReport:
    others = [f"x{place}" for place in range(10)]
    results = []
    for number, rank in enumerate(ranks.tolist()):
        ranking = [*others[: rank - 1], "d", *others][:10] if rank else others
        query = EvalQuery(str(number), str(number), {"d": 1})
        results.append(QueryResult(query, query.relevant, tuple(ranking), (), 1.0))
    return EvalReport(1, "set", "hash", tuple(results))


# -- trials ----------------------------------------------------------------------------------------

Spoil = Callable[["Handbook"], None]


class Handbook:
    """The sample knowledge base in a directory of its own, refreshed and then spoilt."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings: dict[str, Any] = yaml.safe_load((ROOT / "knowledge_base.yaml").read_text())
        self.settings["storage"] = "./store"
        self.settings["sources"][0]["path"] = "./handbook"
        self.settings["evaluation"]["sets"] = [str(ROOT / "eval_sets" / "handbook.jsonl")]

    @property
    def documents(self) -> list[Path]:
        return sorted(p for p in (self.root / "handbook").rglob("*.md"))

    @property
    def queries(self) -> list[dict[str, Any]]:
        lines = (ROOT / "eval_sets" / "handbook.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if row["relevant"]]

    def configure(self) -> KnowledgeBaseConfig:
        path = self.root / "knowledge_base.yaml"
        path.write_text(yaml.safe_dump(self.settings))
        return load_config(path)

    def refresh(self, **options: Any) -> dict[str, Any]:
        with dg.DagsterInstance.ephemeral() as instance:
            return Refresher(self.configure(), instance).refresh(Options(**options))


def trials(work: Path, only: str = "") -> None:
    """Spoil the handbook in each way and print what happened."""
    shutil.rmtree(work, ignore_errors=True)
    clean = Handbook(work / "clean")
    clean.root.mkdir(parents=True)
    shutil.copytree(ROOT / "examples" / "handbook", clean.root / "handbook")
    receipt = clean.refresh()
    assert receipt["promoted"], receipt
    print(f"\nseed {SEED}; 80 documents, 126 judged queries\n")
    print("| trial | outcome | decided by |\n|---|---|---|")
    for name, (prepare, around, options) in TRIALS.items():
        if only not in name:
            continue
        copy = Handbook(work / name.replace(" ", "-").replace("%", "").replace(",", "")[:40])
        shutil.copytree(clean.root, copy.root)
        prepare(copy)
        with around():
            print(f"| {name} | {_outcome(copy, options)} |", flush=True)


def _outcome(copy: Handbook, options: dict[str, Any]) -> str:
    before = Pipeline(copy.configure()).versions.live().version
    try:
        receipt = copy.refresh(**options)
    except RagError as error:
        return f"stopped | {type(error).__name__}: {error}"
    failed = [c for c in receipt["gate"]["checks"] if not c["passed"]]
    held = "; ".join(receipt["held"].values())
    if held:
        return f"held | delete guard: {held}"
    live = receipt["live_version"]
    if failed:
        assert live == before, "a refused version went live"
        return "refused | " + "; ".join(f"{c['name']}: {c['summary']}" for c in failed)
    unsure = [f"{c['name']}: {c['summary']}" for c in receipt["gate"]["checks"] if not c["decided"]]
    return ("promoted" if receipt["promoted"] else "nothing to do") + " | " + "; ".join(unsure)


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


def _review_notes(base: Handbook) -> None:
    """A neutral change: a line at the end of every document."""
    for document in base.documents:
        document.write_text(document.read_text() + "\nLast reviewed by its owner this year.\n")


def _other_sizes(base: Handbook) -> None:
    """A neutral change: chunks a little smaller, all cut and indexed anew."""
    base.settings["chunking"] = {"default": {"size": 240, "overlap": 32}}


def _tiny_chunks(base: Handbook) -> None:
    base.settings["chunking"] = {"default": {"strategy": "text", "size": 8, "overlap": 0}}


def _removing(share: float) -> Spoil:
    """That share of the documents, at random."""

    def remove(base: Handbook) -> None:
        files = sorted(p for p in (base.root / "handbook").rglob("*") if p.is_file())
        rng = np.random.default_rng(SEED)
        for place in rng.choice(len(files), round(share * len(files)), replace=False):
            files[place].unlink()

    return remove


def _empty_two_fifths(base: Handbook) -> None:
    rng = np.random.default_rng(SEED)
    documents = base.documents
    for place in rng.choice(len(documents), round(0.4 * len(documents)), replace=False):
        documents[place].write_text("# Moved\n\nThis page has moved; nothing is left of it here.\n")


def _poison(base: Handbook) -> None:
    """Three texts for each of 60 questions, which repeat it and answer wrongly."""
    folder = base.root / "handbook" / "from-a-stranger"
    folder.mkdir()
    queries = base.queries
    rng = np.random.default_rng(SEED)
    for number, place in enumerate(rng.choice(len(queries), 60, replace=False)):
        question = queries[place]["query"]
        for copy, words in enumerate(("Surely not.", "Ask nobody.", "There is no such rule.")):
            (folder / f"{number}-{copy}.md").write_text(
                f"# {question}\n\n{question} {words} Whoever asks {question.lower()} should know"
                f" that {words.lower()} This is the only valid answer, number {copy}.\n"
            )


@contextmanager
def _bad_model() -> Iterator[None]:
    """An encoder that means nothing: every text has a random direction of its own."""

    class Noise:
        fingerprint = "noise"
        name = "noise"
        dimension = 384
        max_tokens = 256
        provider = "numpy"
        token_form = None

        def admit(self, texts: Iterable[str]) -> None:
            """Noise costs nothing."""

        def batches(self, texts: Sequence[str]) -> Iterator[Batch]:
            vectors = self.encode(texts)
            yield Batch(list(range(len(texts))), vectors, sum(self.count_tokens(texts)))

        def encode(self, texts: Sequence[str], on_batch: object = None) -> np.ndarray:
            return np.stack([self.encode_query(text) for text in texts])

        def encode_query(self, text: str) -> np.ndarray:
            rng = np.random.default_rng(crc32(text.encode()))
            vector = rng.standard_normal(384).astype(np.float32)
            return vector / np.linalg.norm(vector)

        def count_tokens(self, texts: Sequence[str]) -> list[int]:
            return [len(terms(text)) for text in texts]

    where = "rag_assets.refresh.pipeline."
    with (
        patch(where + "open_encoder", lambda config: Noise()),
        patch("rag_assets.embedding.open_encoder", lambda config: Noise()),
        patch(where + "model_fingerprint", lambda config: "noise"),
        patch(where + "token_form", lambda config: None),
    ):
        yield


@contextmanager
def _lossy_build() -> Iterator[None]:
    """A fifth of the chunks never reaches the index."""
    whole = candidate.wanted_version

    def lossy(pipeline: Pipeline) -> Any:
        wanted = whole(pipeline)
        kept = wanted.manifest.sample(fraction=0.8, seed=SEED).sort("chunk_id")
        return replace(wanted, manifest=kept)

    with patch.object(candidate, "wanted_version", lossy):
        yield


TRIALS: dict[str, tuple[Spoil, Any, dict[str, Any]]] = {
    "a line added to every Markdown document": (_review_notes, _as_it_is, {}),
    "chunks of 240 tokens instead of 256": (_other_sizes, _as_it_is, {}),
    "a chunker that cuts every 8 tokens": (_tiny_chunks, _as_it_is, {}),
    "a model whose vectors mean nothing": (lambda base: None, _bad_model, {}),
    "20 % of the documents deleted at random": (_removing(0.2), _as_it_is, {}),
    "a quarter of them": (_removing(0.25), _as_it_is, {}),
    "the same, confirmed": (_removing(0.25), _as_it_is, {"confirm_deletes": True}),
    "two documents deleted": (_removing(2 / 80), _as_it_is, {}),
    "20 % of the chunks lost on the way": (_review_notes, _lossy_build, {}),
    "40 % of the pages emptied": (_empty_two_fifths, _as_it_is, {}),
    "a poisoned source of 180 documents": (_poison, _as_it_is, {}),
}


# -- speed -----------------------------------------------------------------------------------------


def speed(work: Path) -> None:
    """Judge 20,000 made-up chunks by 1,000 questions, embed the questions, compare two reports."""
    from benchmarks.retrieval_latency import WordVectors, made_version
    from benchmarks.serving import question

    numbers = np.random.default_rng(SEED).choice(20_000, 1000, replace=False).tolist()
    version = made_version(work, 20_000)
    version.warm()
    held = version.document_ids()
    queries = tuple(
        EvalQuery(f"q{n}", question(n), {held[n]: 1}, tags=(f"t{n % 7}",)) for n in numbers
    )
    eval_set = EvalSet("made", "hash", queries)
    model = open_encoder(EmbeddingConfig())
    model.encode(["warm"])
    gate = Gate.model_validate({"recall@5": 0.5})
    words: Any = WordVectors()

    def ask(query: EvalQuery, k: int) -> Sequence[Hit]:
        return search(version, words, SearchRequest(query.query, k))

    with _measured("embedding 1,000 questions"):
        PreparedEncoder(model, [query.query for query in queries])
    with _measured("1,000 searches of 20,000 chunks, with metrics and intervals"):
        report = evaluate(version, eval_set, ask, at_once=AT_ONCE)
        judge_quality([report], gate)
    with _measured("comparing two versions: the test, and the shadow comparison"):
        judge_regression([report], [report], gate)
        compare_reports(1, [report], [report])
    version.close()


@contextmanager
def _measured(what: str) -> Iterator[None]:
    started, cpu = time.perf_counter(), time.process_time()
    yield
    wall, spent = time.perf_counter() - started, time.process_time() - cpu
    print(f"| {what} | {wall:.1f} s | {spent:.1f} s of CPU |", flush=True)


if __name__ == "__main__":
    main()
