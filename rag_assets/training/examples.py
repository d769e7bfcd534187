"""One example: the messages that a model would see, and where every word of them comes from."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from rag_assets.answering.citations import check_citations
from rag_assets.answering.context import Source
from rag_assets.answering.prompt import Instructions, make_prompt
from rag_assets.cleaning.pii import find, redacted_text
from rag_assets.config import InstructConfig, PiiConfig
from rag_assets.errors import StorageError
from rag_assets.evaluation.spans import PassageFinder
from rag_assets.index.base import Passage
from rag_assets.index.live import SealedVersion
from rag_assets.records import digest_of
from rag_assets.training.pairs import Pair

_COLUMNS: dict[str, Any] = {
    "id": pl.String,
    "split": pl.String,  # train or held_out
    "messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
    "question": pl.String,
    "answer": pl.String,
    "origin": pl.String,  # eval_sets or feedback
    "origin_id": pl.String,  # EVAL_SET/QUERY, or the id of the request
    "accepted_at": pl.String,
    "passages": pl.List(
        pl.Struct(
            {
                "number": pl.Int64,  # by which the answer cites it
                "chunk_id": pl.String,
                "doc_id": pl.String,
                "uri": pl.String,
                "title": pl.String,
                "start": pl.Int64,  # characters into the document's text
                "end": pl.Int64,
                "text": pl.String,
                "licence": pl.String,
            }
        )
    ),
    "licences": pl.List(pl.String),  # of all passages; `unknown` where a document names none
    "pii": pl.Boolean,  # personal data stood in it, whether or not it was redacted
    "pii_kinds": pl.List(pl.String),
    "index_version": pl.Int64,  # that the passages were read from
    "prompt_version": pl.String,
    "fingerprint": pl.String,
}
EXAMPLES = pl.Schema(_COLUMNS)
"""Columns of the dataset."""

_MARK = re.compile(r"\[(\d{1,3})\]")
_PASSAGES = 3  # of a reference answer that quotes none
_LICENCES = ("licence", "license")
_FLAG, _REDACT = PiiConfig(mode="flag"), PiiConfig(mode="redact")


class LeftOut(Exception):
    """A pair that is not exported, with the reason that is counted."""


@dataclass(frozen=True, slots=True)
class Document:
    """What of a document decides whether it may be exported. side: train or held_out."""

    state: str
    side: str
    licence: str | None
    metadata: Mapping[str, Any]
    acl: frozenset[str]
    valid: bool


class Maker:
    """Makes examples from one index version."""

    def __init__(
        self,
        version: SealedVersion,
        settings: InstructConfig,
        instructions: Instructions,
        recipe: str,
    ) -> None:
        self._version = version
        self._settings = settings
        self._instructions = instructions
        self._recipe = recipe
        self._spans = PassageFinder(version)
        self._documents: dict[str, Document | None] = {}

    def fingerprint(self, pair: Pair) -> str:
        """Of everything that the example of a pair depends on; the same one is not made again.

        Raises: LeftOut.
        """
        doc_ids = self._doc_ids(pair)
        documents = [self._allowed(doc_id) for doc_id in doc_ids]
        self._side(pair, documents)
        cited = [f"{number} {' '.join(one)}" for number, one in sorted(pair.cited.items())]
        states = [f"{d} {found.state}" for d, found in zip(doc_ids, documents, strict=True)]
        words = (pair.id, pair.question, pair.answer, pair.accepted_at, *pair.quotes)
        return digest_of(self._recipe, *words, *cited, *states)

    def example(self, pair: Pair, fingerprint: str) -> dict[str, Any]:
        """The row of a pair. Raises: LeftOut."""
        passages = self._numbered(pair)
        side = self._side(pair, [self._allowed(p.doc_id) for p in passages.values()])
        texts = [pair.question, pair.answer]
        texts += [text for p in passages.values() for text in (p.text, p.title, *p.heading)]
        kinds = sorted({found.entity for text in texts for found in find(text, _FLAG)})
        if kinds and self._settings.pii == "leave_out":
            raise LeftOut("personal data")
        clean = self._clean
        sources = [_source(number, passage, clean) for number, passage in passages.items()]
        question = clean(pair.question)
        answer = _with_marks(clean(pair.answer), sources)
        prompt = make_prompt(question, sources, self._instructions)
        licences = {n: self._allowed(p.doc_id).licence for n, p in passages.items()}
        return {
            "id": digest_of(pair.origin, pair.id)[:16],
            "split": side,
            "messages": [*prompt.messages, {"role": "assistant", "content": answer}],
            "question": question,
            "answer": answer,
            "origin": pair.origin,
            "origin_id": pair.id,
            "accepted_at": pair.accepted_at,
            "passages": [
                {
                    "number": source.number,
                    "chunk_id": source.chunk_id,
                    "doc_id": source.doc_id,
                    "uri": source.uri,
                    "title": source.title,
                    "start": source.start,
                    "end": source.end,
                    "text": source.text,
                    "licence": licences[source.number],
                }
                for source in sources
            ],
            "licences": sorted({licence or "unknown" for licence in licences.values()}),
            "pii": bool(kinds),
            "pii_kinds": kinds,
            "index_version": self._version.manifest.version,
            "prompt_version": self._instructions.version,
            "fingerprint": fingerprint,
        }

    def _doc_ids(self, pair: Pair) -> list[str]:
        if pair.cited:
            return list(dict.fromkeys(p.doc_id for p in self._cited(pair).values()))
        return sorted(pair.documents)

    def _cited(self, pair: Pair) -> dict[int, Passage]:
        """A chunk's id changes with its text, so one that is here says what it said then."""
        try:
            found = self._version.passages([chunk_id for chunk_id, _ in pair.cited.values()])
        except StorageError as error:
            raise LeftOut("a passage was changed or removed") from error
        quotes = (quote for _, quote in pair.cited.values())
        held = [self._holding(p, quote) for p, quote in zip(found, quotes, strict=True)]
        return dict(zip(pair.cited, held, strict=True))

    def _holding(self, passage: Passage, quote: str) -> Passage:
        """The passage with what of its neighbours the quote needs: chunks that touch are shown to a
        model as one, under the id of one of them."""
        if quote in passage.text:
            return passage
        spans, lost = self._spans.find([quote], [passage.doc_id])
        if lost:
            raise LeftOut("a passage was changed or removed")
        start = min(passage.start, *(span.start for span in spans))
        end = max(passage.end, *(span.end for span in spans))
        chunks = self._version.passages(self._version.chunk_ids([passage.doc_id]))
        joined: Passage | None = None
        for chunk in sorted(chunks, key=lambda chunk: (chunk.start, chunk.end)):
            if chunk.end > start and chunk.start < end:
                joined = chunk if joined is None else _joined(joined, chunk)
        return replace(joined or passage, chunk_id=passage.chunk_id)

    def _numbered(self, pair: Pair) -> dict[int, Passage]:
        """The passages that the answer rests on, under the numbers it cites them by."""
        if pair.cited:
            return self._cited(pair)
        doc_ids = self._doc_ids(pair)
        spans, lost = self._spans.find(pair.quotes, doc_ids)
        if lost:
            raise LeftOut("a passage was changed or removed")
        chunk_ids = self._version.chunk_ids(doc_ids)
        if pair.quotes:
            chosen = [
                passage
                for passage in self._version.passages(chunk_ids)
                if any(
                    s.doc_id == passage.doc_id and s.start < passage.end and passage.start < s.end
                    for s in spans
                )
            ]
        else:
            words = f"{pair.question} {pair.answer}"
            best = self._version.lexical(words, _PASSAGES, chunk_ids)
            chosen = self._version.passages([chunk_id for chunk_id, _ in best])
        if not chosen:
            raise LeftOut("its documents do not say it")
        return dict(enumerate(chosen, start=1))

    def _allowed(self, doc_id: str) -> Document:
        """What is known of a document. Raises: LeftOut where it must not be exported."""
        if doc_id not in self._documents:
            row = self._version.document(doc_id)
            self._documents[doc_id] = None if row is None else self._document(doc_id, row)
        found = self._documents[doc_id]
        if found is None or not found.valid:
            raise LeftOut("a document is gone")
        if not found.acl & {*self._settings.groups, "everyone"}:
            raise LeftOut("a document is not for these groups")
        if found.metadata.get("tenant") not in (None, "*", self._settings.tenant):
            raise LeftOut("a document is another tenant's")
        wanted = self._settings.licences
        if wanted is not None and found.licence not in wanted:
            raise LeftOut("a licence is not allowed")
        return found

    def _document(self, doc_id: str, row: Mapping[str, Any]) -> Document:
        metadata = json.loads(row["metadata"] or "{}")
        named = (metadata.get(key) for key in _LICENCES)
        until = row["valid_until"]
        # Copies of one text stay on one side.
        one_text = str(metadata.get("text_group") or doc_id)
        return Document(
            str(row["state"]),
            side_of(one_text, self._settings.held_out),
            next((name for name in named if isinstance(name, str) and name.strip()), None),
            metadata,
            frozenset(json.loads(row["acl"] or "[]")),
            until is None or datetime.fromisoformat(until) > datetime.now(UTC),
        )

    def _side(self, pair: Pair, documents: Sequence[Document]) -> str:
        """Which side of the split a pair is on. Raises: LeftOut where it is on none."""
        sides = {document.side for document in documents}
        if len(sides) > 1:
            raise LeftOut("its documents are on both sides of the split")
        side = sides.pop()
        if pair.for_testing and side == "train":
            raise LeftOut("an eval set tests with it")
        return side

    def _clean(self, text: str) -> str:
        return redacted_text(text, _REDACT) if self._settings.pii == "redact" else text


def side_of(document: str, held_out: float) -> str:
    """train or held_out, by the document's name alone: a dataset that grows moves nobody."""
    return "held_out" if int(digest_of("split", document)[:8], 16) < held_out * 2**32 else "train"


def _joined(first: Passage, second: Passage) -> Passage:
    """Both as one passage; what they share stands in it once."""
    gap = "\n" if second.start > first.end else ""
    text = first.text + gap + second.text[max(0, first.end - second.start) :]
    return replace(first, text=text, end=max(first.end, second.end))


def _source(number: int, passage: Passage, clean: Any) -> Source:
    return Source(
        number,
        passage.uri,
        passage.doc_id,
        passage.chunk_id,
        clean(passage.title),
        tuple(clean(part) for part in passage.heading),
        passage.start,
        passage.end,
        clean(passage.text),
        number,
        0.0,
    )


def _with_marks(answer: str, sources: Sequence[Source]) -> str:
    """The answer with a citation: its own, or of the passage that holds most of its words."""
    if _MARK.search(answer):
        return answer
    support = {
        source.number: check_citations(f"{answer} [{source.number}]", [source]).support
        for source in sources
    }
    best = max(support, key=lambda number: (support[number], -number))
    return f"{answer} [{best}]"
