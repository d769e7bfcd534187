"""What a knowledge base of N documents takes: CPU, memory and disk of three refreshes.

    python -m benchmarks.sizing --documents 10000

Each refresh is a process of its own, `rag-assets refresh`: the first, one after one document in a
hundred was edited, one with nothing new. Every document has 144 words in two paragraphs; fifty
questions judge each version. Wall time is printed, but only CPU, memory and bytes are worth quoting
from a machine that does other things as well.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from subprocess import PIPE, Popen

import yaml

from benchmarks.incremental.corpus import chosen
from rag_assets.operations.snapshot import Snapshot
from rag_assets_tests.conftest import SUBJECTS, load_config

_QUESTIONS = 50
_PLACES = "desk office cabinet shelf hall gate floor archive counter depot".split()
_VERBS = "approves files answers forwards checks returns signs registers prices copies".split()
_REFRESH = [sys.executable, "-c", "from rag_assets.cli import main; main()", "refresh", "--json"]


def _sentences(rng: random.Random, words: int) -> str:
    """Sentences of the sort that a handbook has, `words` words in all."""
    said: list[str] = []
    while len(said) < words:
        subject, other = rng.sample(SUBJECTS, 2)
        said += (
            f"The {subject} {rng.choice(_PLACES)} {rng.randint(10, 9999)} {rng.choice(_VERBS)}"
            f" every {other} request within {rng.randint(2, 90)} days of form"
            f" {rng.choice('ABCDEFGH')}{rng.randint(100, 99999)}."
        ).split()
    return " ".join(said[:words])


def _text(number: int, edition: int) -> str:
    """A document; another edition has another second paragraph."""
    first = _sentences(random.Random(f"{number}/first"), 72)
    second = _sentences(random.Random(f"{number}/second/{edition}"), 72)
    return f"# Instruction {number}\n\n{first}\n\n{second}\n"


def _write(documents: Path, numbers: Iterable[int], edition: int) -> None:
    for number in numbers:
        file = documents / f"{number // 1000:03d}" / f"{number:06d}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_text(number, edition), encoding="utf-8")


def _questions(count: int) -> str:
    rows = []
    for number in chosen(count, 0, min(_QUESTIONS, count)):
        asked = " ".join(_text(number, 0).split("\n\n")[1].split()[:14])
        name = f"docs/{number // 1000:03d}/{number:06d}.md"
        rows.append(json.dumps({"id": str(number), "query": asked, "relevant": [name]}))
    return "\n".join(rows)


def _refresh(path: Path) -> None:
    """Run one refresh and print what it took."""
    started = time.perf_counter()
    process = Popen([*_REFRESH, "--config", str(path)], stdout=PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)  # with the children it waited for
    if status:
        raise SystemExit(f"the refresh ended with {os.waitstatus_to_exitcode(status)}: {said}")
    receipt = json.loads(said)
    chunks, computed = receipt["chunks"], receipt["embeddings"]["computed"]
    print(
        f"  CPU {used.ru_utime + used.ru_stime:.1f} s, wall {time.perf_counter() - started:.1f} s,"
        f" peak {used.ru_maxrss / 1024:.0f} MiB; {chunks['kept']} chunks kept, {chunks['added']}"
        f" added; {computed} embedded, {receipt['embeddings']['tokens']} tokens; version"
        f" {receipt['version']}, promoted: {receipt['promoted']}"
    )
    for name, size in sorted(Snapshot(load_config(path)).sizes().items()):
        print(f"    {name:<12}{size / 1e6:>9.1f} MB")


def measure(root: Path, count: int) -> None:
    """The three refreshes, below a directory."""
    documents = root / "documents"
    _write(documents, range(count), 0)
    (root / "questions.jsonl").write_text(_questions(count))
    path = root / "knowledge_base.yaml"
    settings = {
        "name": "sizing",
        "storage": "./store",
        "sources": [{"name": "docs", "type": "files", "path": "./documents"}],
        "evaluation": {"sets": ["questions.jsonl"]},
    }
    path.write_text(yaml.safe_dump(settings))
    print(f"first refresh of {count} documents")
    _refresh(path)
    _write(documents, chosen(count, 1), 1)
    print("one document in a hundred edited")
    _refresh(path)
    print("nothing new")
    _refresh(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=10_000)
    wanted = parser.parse_args().documents
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), wanted)
