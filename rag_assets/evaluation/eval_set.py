"""Reading eval sets: JSONL of this project, and BEIR folders as they are."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unicodedata import normalize

from rag_assets.errors import ConfigError
from rag_assets.records import digest_of

_KEYS = {
    "id",
    "query",
    "relevant",
    "grades",
    "passages",
    "answer",
    "tags",
    "groups",
    "origin",
    "half",
}
HALVES = ("tuning", "held_out")
"""What settings are chosen by, and what says whether they were chosen well."""

_SHOWN = 20  # mistakes listed in one message


@dataclass(frozen=True, slots=True)
class EvalQuery:
    """One question with what should be found for it.

    relevant: doc_id to grade above 0; empty means that the knowledge base has no answer.
    passages: texts that must be found, matched by span. groups: who asks; None means anyone.
    origin: where an accepted candidate came from. half: which half of the set it belongs to, where
    that was decided by hand.
    """

    id: str
    query: str
    relevant: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    passages: tuple[str, ...] = ()
    answer: str | None = None
    tags: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    origin: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    half: str | None = None

    @property
    def answerable(self) -> bool:
        """Whether anything in the knowledge base is expected to be found."""
        return bool(self.relevant)


@dataclass(frozen=True, slots=True)
class EvalSet:
    """Queries under a name; `content_hash` changes when anything in them does."""

    name: str
    content_hash: str
    queries: tuple[EvalQuery, ...]

    def halves(self) -> dict[str, "EvalSet"]:
        """The tuning half and the held-out half, as sets of their own.

        Queries about one document stay together, so that what was tuned on it is not tested on it;
        which half they fall into follows from the document's name alone, and stays as the set
        grows.
        """
        parts: dict[str, list[EvalQuery]] = {name: [] for name in HALVES}
        for query in self.queries:
            parts[half_of(query)].append(query)
        return {
            name: EvalSet(f"{self.name}:{name}", _content_hash(queries), tuple(queries))
            for name, queries in parts.items()
        }


def half_of(query: EvalQuery) -> str:
    """The half that a query belongs to."""
    key = min(query.relevant, default=query.query)
    return query.half or HALVES[int(digest_of("half", key)[:8], 16) % 2]


class _Mistakes:
    """Everything wrong with the files, each with its file, line and key."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, file: Path, line: int, text: str) -> None:
        self.found.append(f"{file}:{line}: {text}")

    def raise_any(self) -> None:
        if self.found:
            hidden = len(self.found) - _SHOWN
            more = [f"… and {hidden} more"] if hidden > 0 else []
            raise ConfigError("\n".join(self.found[:_SHOWN] + more))


def load_eval_set(
    path: str | Path,
    format: str = "jsonl",
    sources: Sequence[str] = (),
    doc_ids: Collection[str] = (),
) -> EvalSet:
    """Read an eval set: `jsonl` is a file, `beir` a folder.

    sources, doc_ids: the names of the knowledge base's sources and the documents of the version to
    be judged. They decide which `SOURCE/ID` a BEIR `_id` means; where a document is gone, the
    source that holds most of the set's other documents is taken, so that it counts as stale.

    Raises: ConfigError with one line for every mistake: file, line, key, what was expected.
    """
    place = Path(path)
    mistakes = _Mistakes()
    if format == "beir":
        queries = _read_beir(place, mistakes, sources, frozenset(doc_ids))
    else:
        queries = _read_jsonl(place, mistakes)
    mistakes.raise_any()
    if not queries:
        raise ConfigError(f"{place}: no queries; expected at least one")
    queries = _as_spelled(queries, doc_ids)
    name = place.name if format == "beir" else place.stem
    return EvalSet(name, _content_hash(queries), tuple(queries))


def _as_spelled(queries: list[EvalQuery], doc_ids: Collection[str]) -> list[EvalQuery]:
    """The queries with documents named as they are held: a disk may keep ü as u and a mark."""
    spelled = {normalize("NFC", doc_id): doc_id for doc_id in doc_ids if not doc_id.isascii()}

    def held(doc_id: str) -> str:
        return spelled.get(normalize("NFC", doc_id), doc_id)

    return [
        replace(q, relevant=MappingProxyType({held(d): grade for d, grade in q.relevant.items()}))
        if spelled
        else q
        for q in queries
    ]


def _read_jsonl(file: Path, mistakes: _Mistakes) -> list[EvalQuery]:
    queries = []
    seen: dict[str, int] = {}
    for line, row in _rows(file, mistakes):
        query = _query(row, file, line, mistakes)
        if query is None:
            continue
        if query.id in seen:
            mistakes.add(file, line, f"id: {query.id!r} is already used in line {seen[query.id]}")
        seen.setdefault(query.id, line)
        queries.append(query)
    return queries


def _query(row: dict[str, Any], file: Path, line: int, mistakes: _Mistakes) -> EvalQuery | None:
    """The query of one row, or None and its mistakes noted."""
    before = len(mistakes.found)
    for key in sorted(row.keys() - _KEYS):
        mistakes.add(file, line, f"{key}: unknown key; expected {', '.join(sorted(_KEYS))}")
    text = row.get("query")
    if not isinstance(text, str) or not text.strip():
        mistakes.add(file, line, f"query: expected a text that is not empty, found {text!r}")
    if row.get("relevant") is None:
        mistakes.add(file, line, "relevant: expected a list of doc_ids ([] for unanswerable)")
    if not _is_id(row.get("id", line)):
        mistakes.add(file, line, f"id: expected a text or a whole number, found {row['id']!r}")
    lists = {}
    for key in ("relevant", "passages", "tags", "groups"):
        lists[key] = row.get(key) or []
        if not _is_texts(lists[key]):
            mistakes.add(file, line, f"{key}: expected a list of texts, found {row[key]!r}")
    grades = row.get("grades") or {}
    if not isinstance(grades, dict) or not all(_is_grade(grade) for grade in grades.values()):
        mistakes.add(file, line, f"grades: expected doc_id to whole number, found {grades!r}")
    answer = row.get("answer")
    if answer is not None and not isinstance(answer, str):
        mistakes.add(file, line, f"answer: expected a text, found {answer!r}")
    origin = row.get("origin") or {}
    if not isinstance(origin, dict) or not _is_texts(list(origin.values())):
        mistakes.add(file, line, f"origin: expected an object of texts, found {origin!r}")
    half = row.get("half")
    if half not in (None, *HALVES):
        mistakes.add(file, line, f"half: expected tuning or held_out, found {half!r}")
    if len(mistakes.found) > before:
        return None
    if none := [doc_id for doc_id in lists["relevant"] if grades.get(doc_id) == 0]:
        mistakes.add(file, line, f"grades: {none[0]!r} is relevant, and graded 0; expected either")
        return None
    relevant = dict.fromkeys(lists["relevant"], 1) | grades
    return EvalQuery(
        id=str(row.get("id", line)),
        query=str(text),
        relevant=_graded(relevant),
        passages=tuple(lists["passages"]),
        answer=answer,
        tags=tuple(lists["tags"]),
        groups=None if row.get("groups") is None else tuple(lists["groups"]),
        origin=MappingProxyType(origin),
        half=half,
    )


def _read_beir(
    folder: Path, mistakes: _Mistakes, sources: Sequence[str], doc_ids: frozenset[str]
) -> list[EvalQuery]:
    """Queries that have a judgement; the others belong to other splits."""
    judgements = _qrels_file(folder)
    file = folder / "queries.jsonl"
    texts: dict[str, str] = {}
    for line, row in _rows(file, mistakes):
        if isinstance(row.get("_id"), str) and isinstance(row.get("text"), str):
            texts[row["_id"]] = row["text"]
        else:
            mistakes.add(file, line, "expected the keys _id and text, both texts")
    judged = _read_qrels(judgements, texts, mistakes)
    resolved = _resolver({key for grades in judged.values() for key in grades}, sources, doc_ids)
    return [
        EvalQuery(query_id, texts[query_id], _graded({resolved(k): g for k, g in grades.items()}))
        for query_id, grades in judged.items()
    ]


def _qrels_file(folder: Path) -> Path:
    """The test judgements, or whatever single file there is."""
    files = sorted((folder / "qrels").glob("*.tsv"))
    if not files:
        raise ConfigError(f"{folder}: no qrels/*.tsv; expected a BEIR folder")
    named = {file.stem: file for file in files}
    return named.get("test", files[0])


def _read_qrels(
    file: Path, texts: Mapping[str, str], mistakes: _Mistakes
) -> dict[str, dict[str, int]]:
    judged: dict[str, dict[str, int]] = {}
    for line, row in enumerate(_read(file).split("\n"), start=1):
        cells = row.rstrip("\r").split("\t")
        if not row.strip() or (line == 1 and not _is_number(cells[-1])):
            continue  # the header of BEIR's own files
        if len(cells) != 3 or not _is_number(cells[2]):
            mistakes.add(
                file, line, f"expected query-id, corpus-id and a whole number, found {row!r}"
            )
        elif cells[0] not in texts:
            mistakes.add(file, line, f"query-id: {cells[0]!r} is not in queries.jsonl")
        elif int(cells[2]) > 0:
            judged.setdefault(cells[0], {})[cells[1]] = int(cells[2])
    return judged


def _resolver(keys: set[str], sources: Sequence[str], doc_ids: frozenset[str]) -> Any:
    """A function from a BEIR `_id` to the doc_id it means."""
    held = Counter(dict.fromkeys(sources, 0))
    for key in keys:
        held.update(source for source in sources if f"{source}/{key}" in doc_ids)
    likely = [source for source, _ in held.most_common()]

    def resolved(key: str) -> str:
        candidates = [key, *(f"{source}/{key}" for source in likely)]
        missing = candidates[1] if likely else key
        return next((doc_id for doc_id in candidates if doc_id in doc_ids), missing)

    return resolved


def _rows(file: Path, mistakes: _Mistakes) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(_read(file).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            mistakes.add(file, line, f"not JSON ({error})")
            continue
        if isinstance(row, dict):
            yield line, row
        else:
            mistakes.add(file, line, f"expected one JSON object a line, found {text[:60]!r}")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as UTF-8 text ({error})") from error


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, int) and not isinstance(value, bool)


def _is_grade(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(text: str) -> bool:
    return text.strip().removeprefix("-").isdecimal()


def _graded(grades: Mapping[str, int]) -> Mapping[str, int]:
    return MappingProxyType({doc_id: grade for doc_id, grade in grades.items() if grade > 0})


def _content_hash(queries: Sequence[EvalQuery]) -> str:
    return digest_of(
        *(
            json.dumps(
                [q.id, q.query, dict(q.relevant), q.passages, q.answer, q.tags, q.groups],
                sort_keys=True,
            )
            for q in queries
        )
    )
