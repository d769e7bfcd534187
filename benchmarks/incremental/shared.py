"""What every system shares: the counting embedder, and how one refresh is timed and verified."""

import argparse
import hashlib
import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.incremental.corpus import contents

DIMENSION = 384
BATCH = 64
_COMPARED = 200  # vectors looked at after a refresh; of the texts, every one


@dataclass(frozen=True)
class Given:
    """What one refresh is given. `size`: paragraphs a chunk."""

    state: Path
    documents: Path
    size: int
    model: str


@dataclass(frozen=True)
class Row:
    """One chunk that an index serves: the file it is of, its text, its vector when looked up."""

    path: str
    text: str
    vector: np.ndarray | None = None


class Embedder:
    """Hash vectors in place of a model; counts texts, and sleeps `EMBED_COST_MS` for each.

    With `EMBED_LOG` set, the digest of every text finished is appended to that file, so that what
    was paid for survives a kill.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.texts = 0
        self._cost = float(os.environ.get("EMBED_COST_MS", "0")) / 1000
        self._log = os.environ.get("EMBED_LOG")

    def embed(self, texts: list[str]) -> np.ndarray:
        """Unit vectors that depend on the texts and the model only: float32 (n, 384)."""
        if self._cost:
            time.sleep(self._cost * len(texts))
        self.texts += len(texts)
        if self._log:
            digests = "".join(hashlib.sha256(text.encode()).hexdigest() + "\n" for text in texts)
            with open(self._log, "a") as log:
                log.write(digests)
        return vectors_of(texts, self.model)


def vectors_of(texts: list[str], model: str) -> np.ndarray:
    """The vectors of these texts by this model, without counting."""
    out = np.empty((len(texts), DIMENSION), np.float32)
    for place, text in enumerate(texts):
        digest = hashlib.sha256(f"{model}\n{text}".encode()).digest()
        seed = int.from_bytes(digest[:8], "big")
        out[place] = np.random.default_rng(seed).standard_normal(DIMENSION, np.float32)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def spread(ids: list[str]) -> list[str]:
    """At most 200 of them, evenly spread: those whose vectors are compared."""
    return ids[:: -(-len(ids) // _COMPARED)] if ids else []


@dataclass(frozen=True)
class Spent:
    """What a refresh cost: seconds, CPU seconds of it and of the process with its imports, memory.

    again, cpu_again: of a second refresh in the same, now warm process.
    """

    seconds: float
    cpu: float
    cpu_process: float
    rss_mb: int
    again: float | None = None
    cpu_again: float | None = None


def run_peer(
    refresh: Callable[[Given, Embedder], None], rows: Callable[[Given], Iterable[Row]]
) -> None:
    """Refresh as the command line says, and report; the whole of a peer's process."""
    given = parse()[0]
    embedder = Embedder(given.model)
    spent = timed(lambda: refresh(given, embedder))
    report(given, embedder, spent, rows(given))


def parse() -> tuple[Given, bool]:
    """The command line of one refresh, and whether the stages shall run alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("state", type=Path)
    parser.add_argument("documents", type=Path)
    parser.add_argument("--size", type=int, default=1)
    parser.add_argument("--model", default="m1")
    parser.add_argument("--stages-alone", action="store_true")
    found = parser.parse_args()
    found.state.mkdir(parents=True, exist_ok=True)
    given = Given(found.state.absolute(), found.documents.absolute(), found.size, found.model)
    return given, found.stages_alone


def timed(refresh: Callable[[], None]) -> Spent:
    """Run a refresh; with `BENCH_AGAIN` set, a second one in the warm process."""
    before, started = _cpu(), time.perf_counter()
    refresh()
    seconds, after = time.perf_counter() - started, _cpu()
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    if not os.environ.get("BENCH_AGAIN"):
        return Spent(seconds, after - before, after, rss)
    started = time.perf_counter()
    refresh()
    return Spent(seconds, after - before, after, rss, time.perf_counter() - started, _cpu() - after)


def _cpu() -> float:
    """CPU seconds of this process and of its children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def report(given: Given, embedder: Embedder, spent: Spent, rows: Iterable[Row]) -> None:
    """Print what a refresh cost and what is wrong with the index, as the process's last line."""
    found = {"embedded": embedder.texts, **asdict(spent), **compared(given, list(rows))}
    sys.stdout.flush()
    print(json.dumps(found))


def compared(given: Given, rows: list[Row]) -> dict[str, int]:
    """How the index differs from the corpus.

    missing, surplus: paragraphs at their path that it lacks, or should not serve. wrong_vectors: of
    the vectors looked at, those that the model asked for does not give. wrong_size: how many rows
    it has too many or too few for chunks of the size asked for.
    """
    held = Counter((row.path, part) for row in rows for part in row.text.strip().split("\n\n"))
    wanted = contents(given.documents)
    looked_up = [(row.text, row.vector) for row in rows if row.vector is not None]
    right = vectors_of([text for text, _ in looked_up], given.model)
    wrong = [
        not np.allclose(vector, wanted_vector, atol=1e-4)
        for (_, vector), wanted_vector in zip(looked_up, right, strict=True)
    ]
    of_file = Counter(path for path, _ in wanted.elements())
    needed = sum(-(-count // given.size) for count in of_file.values())
    return {
        "rows": len(rows),
        "missing": (wanted - held).total(),
        "surplus": (held - wanted).total(),
        "vectors_compared": len(looked_up),
        "wrong_vectors": sum(wrong),
        "wrong_size": abs(len(rows) - needed),
    }
