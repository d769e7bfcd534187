"""What every system is given: the corpus, the edit script, and what the right answer is.

Each document has 8 paragraphs of about 780 characters. The splitter of each system, set to 800
characters or to 150 tokens, makes every paragraph one chunk; set to twice that, every two.
"""

import hashlib
import os
import random
import shutil
from collections import Counter
from functools import cache
from pathlib import Path

PARAGRAPHS = 8
_LENGTH = 770
_WORDS = (
    "vector index query document passage refresh partition sensor embedding token retrieval source"
    " answer gate promotion manifest candidate pointer version recall filter metric budget chunk"
    " parser heading corpus bucket snapshot lineage schedule asset check store segment digest"
).split()

STEPS = (
    "cold",
    "no change",
    "edit 1 %",
    "insert at the top of 1 %",
    "delete 1 %",
    "restore 1 %",
    "move 1 %",
    "duplicate 1 %",
    "touch all files",
    "edit that keeps mtime",
    "chunk size changed",
    "chunk size changed back",
    "model changed",
    "model changed back",
)


@cache
def paragraph(seed: str) -> str:
    """About 780 characters that no other seed gives."""
    rng = random.Random(seed)
    words = [f"Note{int(hashlib.md5(seed.encode()).hexdigest()[:8], 16)}"]
    length = len(words[0]) + 1
    while length < _LENGTH:
        words.append(rng.choice(_WORDS))
        length += len(words[-1]) + 1
    return " ".join(words) + "."


def make_corpus(root: Path, documents: int) -> None:
    """Write `documents` text files."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for number in range(documents):
        parts = [paragraph(f"{number}/{place}/0") for place in range(PARAGRAPHS)]
        _file(root, number).write_text("\n\n".join(parts) + "\n")


def chosen(documents: int, offset: int, count: int | None = None) -> list[int]:
    """One percent of the documents, or `count` of them; others for each offset."""
    count = max(1, documents // 100) if count is None else count
    return [(offset * 37 + i * (documents // count)) % documents for i in range(count)]


def _file(root: Path, number: int) -> Path:
    return root / f"d{number:06d}.txt"


def edit(root: Path, numbers: list[int], revision: str, *, keep_mtime: bool = False) -> None:
    """Replace the fourth paragraph of these documents by one of the same length."""
    for number in numbers:
        file = _file(root, number)
        status = file.stat()
        parts = _paragraphs(file)
        parts[3] = paragraph(f"{number}/3/{revision}").ljust(len(parts[3]), "x")[: len(parts[3])]
        file.write_text("\n\n".join(parts) + "\n")
        if keep_mtime:
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def apply(step: str, root: Path, documents: int) -> None:
    """Change the corpus as a step says."""
    aside = root.parent / f"{root.name}-aside"
    if step == "edit 1 %":
        edit(root, chosen(documents, 1), "edit")
    elif step == "insert at the top of 1 %":
        for number in chosen(documents, 2):
            file = _file(root, number)
            file.write_text(paragraph(f"{number}/top") + "\n\n" + file.read_text())
    elif step == "delete 1 %":
        aside.mkdir(exist_ok=True)
        for number in chosen(documents, 3):
            shutil.move(_file(root, number), aside)
    elif step == "restore 1 %":
        for file in aside.iterdir():
            shutil.move(file, root)
    elif step == "move 1 %":
        (root / "moved").mkdir(exist_ok=True)
        for number in chosen(documents, 4):
            shutil.move(_file(root, number), root / "moved")
    elif step == "duplicate 1 %":
        for number in chosen(documents, 5):
            shutil.copy(_file(root, number), root / f"copy-{number:06d}.txt")
    elif step == "touch all files":
        for file in root.rglob("*.txt"):
            os.utime(file)
    elif step == "edit that keeps mtime":
        edit(root, chosen(documents, 6), "same-mtime", keep_mtime=True)


def settings(step: str) -> tuple[int, str]:
    """(chunk size in paragraphs, model name) at a step."""
    return (2 if step == "chunk size changed" else 1), ("m2" if step == "model changed" else "m1")


def _paragraphs(file: Path) -> list[str]:
    return file.read_text().strip().split("\n\n")


def texts(root: Path, size: int) -> set[str]:
    """The different texts that chunks of `size` paragraphs of the whole corpus have."""
    found = set()
    for file in root.rglob("*.txt"):
        parts = _paragraphs(file)
        found |= {"\n\n".join(parts[i : i + size]) for i in range(0, len(parts), size)}
    return found


def contents(root: Path) -> Counter[tuple[str, str]]:
    """(relative path, paragraph) of the whole corpus: what an index of it must hold, once each."""
    return Counter(
        (str(file.relative_to(root)), part)
        for file in root.rglob("*.txt")
        for part in _paragraphs(file)
    )
