"""The instruct dataset of a knowledge base, kept up to date.

STORAGE/instruct_dataset/train.jsonl, train.parquet
STORAGE/instruct_dataset/held_out.jsonl, held_out.parquet
STORAGE/instruct_dataset/REPORT.json        how many of what, and why others were left out
STORAGE/instruct_dataset/judged.json        what was read of the audit log
"""

import io
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from rag_assets.answering.prompt import instructions
from rag_assets.fingerprint import recipe
from rag_assets.index.live import LiveIndex
from rag_assets.index.versions import write_atomically
from rag_assets.refresh.judge import eval_sets
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.training.examples import EXAMPLES, LeftOut, Maker
from rag_assets.training.pairs import accepted_pairs

SPLITS = ("train", "held_out")


@dataclass(frozen=True, slots=True)
class Dataset:
    """What was written. made, kept: examples that were new or changed, and those taken over.

    left_out: pairs by reason. written: whether any file was replaced.
    """

    directory: str
    index_version: int
    examples: dict[str, int]
    documents: dict[str, int]
    origins: dict[str, int]
    licences: dict[str, int]
    with_pii: int
    made: int = 0
    kept: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    written: bool = True

    def as_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def directory_of(pipeline: Pipeline) -> Path:
    """Where the dataset of a knowledge base lies."""
    return Path(pipeline.storage) / "instruct_dataset"


def read_dataset(directory: Path) -> pl.DataFrame:
    """Both sides, columns as in EXAMPLES; empty where there is none, or one of an older layout."""
    frames = []
    for split in SPLITS:
        try:
            frame = pl.read_parquet(directory / f"{split}.parquet")
        except (FileNotFoundError, pl.exceptions.PolarsError):
            return EXAMPLES.to_frame()
        if frame.schema != EXAMPLES:
            return EXAMPLES.to_frame()
        frames.append(frame)
    return pl.concat(frames)


def make_dataset(pipeline: Pipeline) -> Dataset:
    """Bring the dataset up to date with the live version, the eval sets and the audit log.

    Only examples whose question, answer, documents or settings changed are made. Files are replaced
    only where their content changed. Raises: IndexNotReady, ConfigError.
    """
    settings = pipeline.config.instruct_dataset
    directory = directory_of(pipeline)
    given = instructions(pipeline.config.llm.prompts)
    how = recipe(Maker, parameters=[settings.model_dump(), given.text])
    live = LiveIndex(pipeline.storage)
    try:
        with live.read() as version:
            pairs = accepted_pairs(
                settings.sources,
                eval_sets(pipeline, version.manifest.version),
                Path(pipeline.storage) / "service" / "audit",
                directory / "judged.json",
                pipeline.config.name,
            )
            before = {row["fingerprint"]: row for row in read_dataset(directory).to_dicts()}
            maker = Maker(version, settings, given, how)
            rows, made, left_out = [], 0, Counter[str]()
            for pair in pairs:
                try:
                    fingerprint = maker.fingerprint(pair)
                    row = before.get(fingerprint)
                    if row is None:
                        row = maker.example(pair, fingerprint)
                        made += 1
                    rows.append(row)
                except LeftOut as reason:
                    left_out[str(reason)] += 1
            number = version.manifest.version
    finally:
        live.close()
    frame = pl.DataFrame(rows, schema=EXAMPLES, orient="row").sort("id")
    written = _written(directory, frame)
    found = _described(directory, number, frame, made, dict(sorted(left_out.items())), written)
    write_atomically(directory / "REPORT.json", json.dumps(found.as_json(), indent=1).encode())
    return found


def _written(directory: Path, frame: pl.DataFrame) -> bool:
    """Replace the files that say something else; whether there was any."""
    directory.mkdir(parents=True, exist_ok=True)
    changed = False
    for split in SPLITS:
        side = frame.filter(split=split)
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in side.to_dicts()]
        data = "".join(lines).encode()
        path = directory / f"{split}.jsonl"
        table = path.with_suffix(".parquet")
        if path.is_file() and table.is_file() and path.read_bytes() == data:
            continue
        buffer = io.BytesIO()
        side.write_parquet(buffer)
        write_atomically(table, buffer.getvalue())
        write_atomically(path, data)
        changed = True
    return changed


def _described(
    directory: Path,
    version: int,
    frame: pl.DataFrame,
    made: int,
    left_out: dict[str, int],
    written: bool,
) -> Dataset:
    sides = {split: frame.filter(split=split) for split in SPLITS}
    passages = {split: side["passages"].explode().drop_nulls() for split, side in sides.items()}
    return Dataset(
        str(directory),
        version,
        {split: side.height for split, side in sides.items()},
        {split: _distinct(found) for split, found in passages.items()},
        dict(Counter(frame["origin"])),
        dict(sorted(Counter(frame["licences"].explode().drop_nulls()).items())),
        int(frame["pii"].sum()),
        made,
        frame.height - made,
        left_out,
        written,
    )


def _distinct(passages: pl.Series) -> int:
    return 0 if passages.is_empty() else passages.struct.field("doc_id").n_unique()
