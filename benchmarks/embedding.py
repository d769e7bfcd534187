"""`python -m benchmarks.embedding`: this embedder beside its peers, one run, the same texts.

Systems take turns in rounds, so that a busy machine slows all of them; the best round of each is
what is compared. The GEMM rate is numpy's own on this machine, in the same rounds. Texts are
paragraphs of at most 256 tokens from squad and PEPs where the shared data is at hand (or under
--data), else from examples/handbook. sentence-transformers runs in the interpreter given by
--torch-python, where it is importable there.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import model_store, open_encoder
from rag_assets.embedding.session import usable_cores
from rag_assets.evaluation.metrics import ndcg

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("speed", "latency", "quality", "memory")
MODEL = EmbeddingConfig().model
# Multiply-adds of one token's matrix products (6 layers of 4 · 384² + 2 · 384 · 1536), and per
# token and key of its attention (6 layers of 2 · 384); a multiply-add is two operations.
_PER_TOKEN = 2 * 6 * (4 * 384**2 + 2 * 384 * 1536)
_PER_PAIR = 2 * 6 * 2 * 384


@dataclass(frozen=True, slots=True)
class Speed:
    """Texts a second of one system: the best round, and all of them."""

    best: float
    rounds: list[float]
    per_cpu_second: float  # texts a second of processor time, times the cores
    similarity: float  # mean cosine to our fp32 vectors


@dataclass(slots=True)
class Results:
    """Everything measured; printed as JSON with --json."""

    cores: int
    texts: int
    tokens: int
    gemm_gflops: float = 0.0
    speeds: dict[str, Speed] = field(default_factory=dict)
    fp32_share_of_gemm: float = 0.0
    ndcg: dict[str, dict[str, float]] = field(default_factory=dict)
    query_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    cold_start_s: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, int] = field(default_factory=dict)


def main() -> None:
    """Measure and report."""
    given = _arguments()
    if given.child:
        {"memory": _memory_child, "cold": _cold_child}[given.child](given)
        return
    texts = paragraphs(given.data, given.texts)
    encoder = _ours("fp32")
    lengths = [min(n + 2, encoder.max_tokens) for n in encoder.count_tokens(texts)]
    found = Results(usable_cores(), len(texts), sum(lengths))
    if "speed" in given.parts:
        measure_speed(found, texts, lengths, given)
    if "latency" in given.parts:
        for precision in ("int8", "fp32"):
            found.query_ms[precision] = query_latency(precision)
            found.cold_start_s[precision] = cold_start(precision)
    if "quality" in given.parts:
        for folder in (given.data / "squad", given.data / "cranfield"):
            if folder.is_dir():
                found.ndcg[folder.name] = {p: retrieval(folder, p) for p in ("fp32", "int8")}
    if "memory" in given.parts:
        for precision in ("int8", "fp32"):
            for count in (given.memory_texts // 4, given.memory_texts):
                found.peak_mb[f"{precision}, {count:,} texts"] = peak_memory(precision, count)
    print(json.dumps(asdict(found)) if given.json else as_tables(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0, help="seconds before each measurement")
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--memory-texts", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", choices=["memory", "cold"], help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="int8", help=argparse.SUPPRESS)
    return parser.parse_args()


def _ours(precision: str):
    return open_encoder(EmbeddingConfig(precision=precision, device="cpu"))


# -- texts ---------------------------------------------------------------------------------------


def paragraphs(data: Path, count: int) -> list[str]:
    """Half squad paragraphs, half stretches of PEPs; handbook stretches without that data."""
    squad = data / "squad" / "corpus.jsonl"
    if not squad.is_file():
        files = sorted((ROOT / "examples" / "handbook").rglob("*.md"))
        return _spread(_stretches(files), count)
    lines = squad.read_text(encoding="utf-8").splitlines()
    peps = _stretches(sorted((data / "peps").glob("*.rst")))
    return _spread([json.loads(line)["text"] for line in lines], count - count // 2) + _spread(
        peps, count // 2
    )


def _stretches(files: Sequence[Path]) -> list[str]:
    """Neighbouring paragraphs of a file joined to about 800 characters."""
    found = []
    for file in files:
        held = ""
        for part in file.read_text(encoding="utf-8", errors="replace").split("\n\n"):
            held = f"{held}\n\n{part}".strip()
            if len(held) >= 600:
                found.append(held[:1000])
                held = ""
    return found


def _spread(texts: Sequence[str], count: int) -> list[str]:
    """`count` texts taken evenly from all."""
    places = np.linspace(0, len(texts) - 1, min(count, len(texts))).astype(int)
    return [texts[place] for place in dict.fromkeys(places.tolist())]


# -- speed ---------------------------------------------------------------------------------------


def measure_speed(
    found: Results, texts: list[str], lengths: list[int], given: argparse.Namespace
) -> None:
    """Texts a second of every system, in turns, and numpy's GEMM rate beside them."""
    systems: dict[str, Callable[[], np.ndarray]] = {
        "rag_assets int8": lambda: _ours("int8").encode(texts),
        "rag_assets fp32": lambda: _ours("fp32").encode(texts),
        "fastembed as shipped": _fastembed(texts),
    }
    peer = _SentenceTransformers(given.torch_python, texts)
    if peer.works:
        systems["sentence-transformers"] = peer.encode
    expected = _ours("fp32").encode(texts)
    times: dict[str, list[float]] = {name: [] for name in systems}
    spent: dict[str, list[float]] = {name: [] for name in systems}
    close: dict[str, float] = {}
    for _ in range(given.rounds):
        found.gemm_gflops = max(found.gemm_gflops, gemm_rate())
        for name, encode in systems.items():
            time.sleep(given.pause)
            cpu, start = time.process_time(), time.perf_counter()
            vectors = encode()
            times[name].append(time.perf_counter() - start)
            spent[name].append(time.process_time() - cpu)
            close[name] = float((vectors * expected).sum(axis=1).mean())
            print(f"{name}: {len(texts) / times[name][-1]:.1f} texts/s", file=sys.stderr)
    if peer.works:
        times["sentence-transformers"], spent["sentence-transformers"] = peer.finish()
    for name in systems:
        rounds = [len(texts) / seconds for seconds in times[name]]
        by_cpu = len(texts) / min(spent[name]) * found.cores
        found.speeds[name] = Speed(max(rounds), rounds, by_cpu, close[name])
    operations = sum(n * _PER_TOKEN + n * n * _PER_PAIR for n in lengths) / len(texts)
    rate = operations * found.speeds["rag_assets fp32"].best / 1e9
    found.fp32_share_of_gemm = rate / found.gemm_gflops


def gemm_rate() -> float:
    """GFLOP/s of numpy's float32 product at the model's own shapes, the best of several."""
    best = 0.0
    for rows, inner, columns in ((2048, 384, 1536), (2048, 1536, 384), (2048, 2048, 2048)):
        left = np.ones((rows, inner), np.float32)
        right = np.ones((inner, columns), np.float32)
        for _ in range(5):
            start = time.perf_counter()
            _ = left @ right
            seconds = time.perf_counter() - start
            best = max(best, 2 * rows * inner * columns / seconds / 1e9)
    return best


def _fastembed(texts: list[str]) -> Callable[[], np.ndarray]:
    """fastembed with its defaults, on the same fp32 graph and the same limit of tokens."""
    import shutil

    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    files = model_store.find_model(MODEL)
    folder = Path(tempfile.mkdtemp())
    shutil.copy(model_store.graph_file(files, "fp32"), folder / "model.onnx")
    shutil.copy(files.tokenizer, folder)
    shutil.copy(files.config, folder)
    settings = json.loads((files.tokenizer.parent / "tokenizer_config.json").read_text())
    settings["model_max_length"] = files.max_tokens
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    shutil.copy(files.tokenizer.parent / "special_tokens_map.json", folder)
    TextEmbedding.add_custom_model(
        model="benchmark/minilm",
        pooling=PoolingType.DISABLED,
        normalization=False,
        sources=ModelSource(hf="benchmark/minilm"),
        dim=files.dimension,
        model_file="model.onnx",
    )
    model = TextEmbedding("benchmark/minilm", specific_model_path=str(folder))
    return lambda: np.array(list(model.embed(texts)))


_TORCH = """
import json, sys, time, numpy as np, torch
from sentence_transformers import SentenceTransformer
folder, texts = json.loads(sys.stdin.readline())
model = SentenceTransformer(folder, device="cpu")
model.max_seq_length = 256
model.encode(texts[:8])
print("ready", flush=True)
for line in sys.stdin:
    cpu, start = time.process_time(), time.perf_counter()
    vectors = model.encode(texts, normalize_embeddings=True)
    seconds = [time.perf_counter() - start, time.process_time() - cpu]
    np.save(line.strip(), vectors)
    print(json.dumps(seconds), flush=True)
"""


class _SentenceTransformers:
    """sentence-transformers with its defaults, in an interpreter of its own."""

    def __init__(self, python: str, texts: list[str]) -> None:
        self._process = subprocess.Popen(
            [python, "-c", _TORCH],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._seconds: list[float] = []
        self._cpu: list[float] = []
        folder = str(model_store.find_model(MODEL).weights.parent)
        try:
            self._tell(json.dumps([folder, texts]))
            self.works = self._hear() == "ready"
        except BrokenPipeError:
            self.works = False

    def encode(self) -> np.ndarray:
        """The vectors; the time is taken over there, so that the pipe costs nothing."""
        with tempfile.TemporaryDirectory() as folder:
            self._tell(f"{folder}/vectors.npy")
            seconds, cpu = json.loads(self._hear())
            self._seconds.append(seconds)
            self._cpu.append(cpu)
            return np.load(f"{folder}/vectors.npy")

    def finish(self) -> tuple[list[float], list[float]]:
        """(wall, processor) seconds of every call."""
        self._process.stdin.close()
        self._process.wait()
        return self._seconds, self._cpu

    def _tell(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        return self._process.stdout.readline().strip()


# -- quality -------------------------------------------------------------------------------------


def retrieval(folder: Path, precision: str) -> float:
    """Mean nDCG@10 of exact search over whole documents of a BEIR folder, all judged queries."""
    encoder = _ours(precision)
    documents = _beir(folder / "corpus.jsonl")
    grades: dict[str, dict[str, int]] = {}
    for line in next((folder / "qrels").glob("*.tsv")).read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            grades.setdefault(query, {})[document] = int(grade)
    queries = {key: text for key, text in _beir(folder / "queries.jsonl").items() if key in grades}
    names = list(documents)
    scores = encoder.encode(list(queries.values())) @ encoder.encode(list(documents.values())).T
    best = np.argsort(-scores, axis=1)[:, :10]
    return statistics.fmean(
        ndcg([names[place] for place in row], grades[query], 10)
        for query, row in zip(queries, best, strict=True)
    )


def _beir(file: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {row["_id"]: f"{row.get('title', '')} {row['text']}".strip() for row in rows}


# -- latency and memory --------------------------------------------------------------------------


def query_latency(precision: str) -> dict[str, float]:
    """Milliseconds of a warm single query, by its length in tokens."""
    encoder = _ours(precision)
    found = {}
    for words in (8, 30, 250):
        query = "how many vacation days does a new employee get in a year ".split() * 25
        text = " ".join(query[:words])
        times = []
        for _ in range(100):
            start = time.perf_counter()
            encoder.encode_query(text)
            times.append((time.perf_counter() - start) * 1000)
        for name, share in (("p50", 50), ("p95", 95)):
            found[f"{words} words {name}"] = round(float(np.percentile(times, share)), 2)
    return found


def cold_start(precision: str) -> float:
    """Seconds from starting Python to the first vector: the best of five."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        _child("cold", precision, 0)
        seconds.append(time.perf_counter() - start)
    return round(min(seconds), 2)


def peak_memory(precision: str, texts: int) -> int:
    """Megabytes of resident memory that embedding so many texts into a store took at most."""
    return int(_child("memory", precision, texts))


def _child(kind: str, precision: str, texts: int) -> str:
    command = [sys.executable, "-m", "benchmarks.embedding", "--child", kind]
    options = ["--precision", precision, "--texts", str(texts)]
    run = subprocess.run([*command, *options], capture_output=True, text=True, check=True, cwd=ROOT)
    return run.stdout


def _cold_child(given: argparse.Namespace) -> None:
    _ours(given.precision).encode_query("How many vacation days does a new employee get?")


def _memory_child(given: argparse.Namespace) -> None:
    from rag_assets.embedding import EmbeddingStore, embed_missing
    from rag_assets.records import text_key

    encoder = _ours(given.precision)
    longest = "alpha " * 300
    # every 16th text is cut at the limit: batches of the greatest size occur again and again
    texts = [f"note {n} {longest if n % 16 == 0 else ''}" for n in range(given.texts)]
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddingStore(folder, encoder.fingerprint, encoder.dimension)
        embed_missing({text_key(text): text for text in texts}, encoder, store)
    status = Path("/proc/self/status").read_text()  # getrusage would count the parent's peak too
    print(int(status.split("VmHWM:")[1].split()[0]) // 1024)


# -- report --------------------------------------------------------------------------------------


def as_tables(found: Results) -> str:
    """The results as markdown."""
    lines = [
        f"{found.texts} texts, {found.tokens / found.texts:.0f} tokens mean, {found.cores} cores.",
        "",
        *_speed_table(found),
    ]
    for name, value in found.ndcg.items():
        change = value["int8"] - value["fp32"]
        lines.append(
            f"nDCG@10, {name}: fp32 {value['fp32']:.4f}, int8 {value['int8']:.4f} ({change:+.4f})."
        )
    for title, values in (
        ("warm query, ms", found.query_ms),
        ("cold start, s", found.cold_start_s),
        ("peak memory, MB", found.peak_mb),
    ):
        lines += [f"{title}: {json.dumps(values)}"]
    return "\n".join(lines)


def _speed_table(found: Results) -> list[str]:
    if not found.speeds:
        return []
    base = found.speeds["fastembed as shipped"].best
    lines = [
        "| system | texts/s, best | all rounds | per CPU second × cores | × fastembed | cosine |",
        "|---|---|---|---|---|---|",
    ]
    for name, speed in found.speeds.items():
        rounds = ", ".join(f"{value:.1f}" for value in speed.rounds)
        lines.append(
            f"| {name} | {speed.best:.1f} | {rounds} | {speed.per_cpu_second:.1f}"
            f" | {speed.best / base:.2f} | {speed.similarity:.6f} |"
        )
    return [
        *lines,
        "",
        f"numpy float32 GEMM: {found.gemm_gflops:.0f} GFLOP/s;"
        f" our fp32 reaches {found.fp32_share_of_gemm:.0%} of it.",
    ]


if __name__ == "__main__":
    main()
