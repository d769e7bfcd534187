"""The lexical index of a version: BM25 over words, stems, identifiers and character bigrams.

Four tantivy fields, none of them stored, because each kind of term needs its own treatment:

- `text`: the passage, lower-cased, accents folded, English stems, stop words kept. Stop words are
  dropped from queries instead, unless a query has nothing else ("to be or not to be").
- `title`: title and headings, the same way. Weight 0.5 of a text match: 0.5 to 1 is the flat top
  (nDCG@10 on Cranfield .382 against .358 without titles, SQuAD unchanged).
- `exact`: identifiers as they are written (`HR-17`, `foo_bar`, `E0433`, `IT`), so that they outrank
  passages that hold only their parts.
- `gram`: single characters and bigrams of scripts written without spaces.

BM25 statistics count deleted rows until tantivy merges their segment away, so scores after many
incremental refreshes differ slightly from those of a fresh build; which rows match never does.
"""

import hashlib
import re
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

from rag_assets.errors import Busy, StorageError

if TYPE_CHECKING:
    import tantivy

Row = tuple[str, str, str | None, Sequence[str]]
"""chunk_id, text, title, headings."""

_TITLE_WEIGHT = 0.5
_EXACT_WEIGHT = 0.5
_QUERY_TERMS = 256  # a pasted page is still one query; later terms are not looked up
_WRITER_BYTES = 64_000_000
_TERM_SET_LIMIT = 1000  # ids; a term set costs 4.5 µs an id, scanning matches 0.3 µs a match
_LONGEST_TERM = 100  # characters; longer ones are base64, hashes and broken text

# Thai, Lao, Burmese, Khmer, kana, bopomofo, CJK, Hangul, half-width forms, CJK beyond the BMP.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3100-\u312f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f]+"
)
_IDENTIFIER = re.compile(r"[^\W_]+(?:[-_./:@+#]+[^\W_]+)+|[^\W_]+(?:\+\+|#)?", re.ASCII)


class LexicalIndex:
    """One tantivy directory: any number of readers, one writer."""

    def __init__(self, directory: Path, index: "tantivy.Index") -> None:
        self.directory = directory
        self._index = index
        self._writer: tantivy.IndexWriter | None = None
        for name, analyzer in (("words", _words()), ("terms", _terms())):
            index.register_tokenizer(name, analyzer)
        index.config_reader(reload_policy="manual")
        index.reload()
        self._searcher = index.searcher()
        self._naming = threading.Lock()
        self._names: dict[int, str] | None = None

    @classmethod
    def create(cls, directory: Path) -> "LexicalIndex":
        """A new, empty index in `directory`."""
        import tantivy

        directory.mkdir(parents=True, exist_ok=True)
        return cls(directory, tantivy.Index(_schema(), str(directory), reuse=False))

    @classmethod
    def open(cls, directory: Path) -> "LexicalIndex":
        """The index in `directory`.

        Raises: StorageError if there is none or its files are damaged.
        """
        import tantivy

        try:
            return cls(directory, tantivy.Index.open(str(directory)))
        except ValueError as error:
            raise StorageError(
                f"{directory}: the lexical index cannot be opened ({_one_line(error)});"
                " run `rag-assets reconcile --repair`"
            ) from error

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows; an id already held must be deleted first. Visible after `commit`."""
        writer = self._write()
        for chunk_id, text, title, headings in rows:
            writer.add_document(_document(chunk_id, text, " \n ".join((title or "", *headings))))

    def delete(self, chunk_ids: Iterable[str]) -> None:
        """Remove rows by id; unknown ids are ignored. Visible after `commit`."""
        writer = self._write()
        for chunk_id in chunk_ids:
            writer.delete_documents_by_term("id", chunk_id)

    def commit(self) -> None:
        """Make additions and deletions durable and visible to searches of this object."""
        if self._writer is not None:
            self._writer.commit()
            self._index.reload()
            self._searcher = self._index.searcher()
            self._names = None

    def warm(self) -> None:
        """Load the ids of all rows, which the first search would have to wait for."""
        self._id_of_key()

    def count(self) -> int:
        """Rows in the index."""
        return int(self._searcher.num_docs)

    def ids(self) -> list[str]:
        """The chunk id of every row really held, with repeats if a row is held twice."""
        import tantivy

        found = self._searcher.search(
            tantivy.Query.all_query(), max(self.count(), 1), count=False
        ).hits
        return [self._id(address) for _, address in found]

    def search(
        self, text: str, k: int, chunk_ids: Sequence[str] | None = None
    ) -> list[tuple[str, float]]:
        """The k best rows for any string, as (chunk_id, BM25 score), best first.

        Equal scores are ordered by chunk id. `chunk_ids` restricts the search to those rows.
        """
        import tantivy

        query = _query(self._index.schema, text)
        if query is None or k < 1 or (chunk_ids is not None and not chunk_ids):
            return []
        if chunk_ids is None:
            return self._best(query, k, None, k)
        if len(chunk_ids) > _TERM_SET_LIMIT:
            share = len(chunk_ids) / max(self.count(), 1)
            return self._best(query, k, frozenset(chunk_ids), int(1.5 * k / share))
        chosen = tantivy.Query.term_set_query(self._index.schema, "id", list(chunk_ids))
        both = [query, tantivy.Query.const_score_query(chosen, 0.0)]
        return self._best(
            tantivy.Query.boolean_query([(tantivy.Occur.Must, part) for part in both]), k, None, k
        )

    def rarity(self, words: Sequence[str]) -> list[float]:
        """How much each word tells: its inverse document frequency, that of its rarest stem.

        A word that no row has is the rarest of all; one without a stem (punctuation) tells nothing.
        """
        rows = self.count()
        known = {word: self._rarest(word, rows) for word in set(words)}
        return [known[word] for word in words]

    def _rarest(self, word: str, rows: int) -> float:
        word = _normal(word)
        found = [
            *(("text", term) for term in _words().analyze(_UNSPACED.sub(" ", word))),
            *(("gram", term) for term in _query_grams(word)),
        ]
        counts = [self._searcher.doc_freq(field, term) for field, term in found]
        rarest = min(min(counts, default=rows), rows)  # counts still hold deleted rows
        return log(1 + (rows - rarest + 0.5) / (rarest + 0.5)) if counts else 0.0

    def close(self) -> None:
        """Finish merges and release the writer's lock; uncommitted changes are lost."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.garbage_collect_files()
            writer.wait_merging_threads()

    def _best(
        self, query: "tantivy.Query", k: int, allowed: frozenset[str] | None, depth: int
    ) -> list[tuple[str, float]]:
        """The k best of the allowed rows, looking at `depth` matches first and more if needed."""
        depth = max(depth, k) + k // 4 + 16  # most ties that the limit cuts lie beyond the k-th
        while True:
            hits = self._searcher.search(query, depth, count=False).hits
            complete = len(hits) < depth
            if not complete:  # the limit may have cut through a tie: its rows are not all here
                hits = [hit for hit in hits if hit[0] > hits[-1][0]]
            found = [
                (-float(score), chunk_id)
                for (score, _), chunk_id in zip(hits, self._named(hits), strict=True)
                if allowed is None or chunk_id in allowed
            ]
            if complete or len(found) >= k:
                return [(chunk_id, -score) for score, chunk_id in sorted(found)[:k]]
            depth *= 4

    def _named(self, hits: "list[tuple[float, tantivy.DocAddress]]") -> list[str]:
        """The chunk id of each hit, by its key: reading a stored id costs 20 µs, a key 0.1 µs."""
        names = self._id_of_key()
        addresses = [address for _, address in hits]
        keys = self._searcher.fast_field_values("key", addresses)
        return [
            (key and names.get(int(key))) or self._id(address)
            for key, address in zip(keys, addresses, strict=True)
        ]

    def _id_of_key(self) -> dict[int, str]:
        """Key to chunk id, without keys that two ids share."""
        with self._naming:
            if self._names is None:
                names: dict[int, str] = {}
                shared = set()
                for chunk_id, _ in self._searcher.terms_with_prefix("id", ""):
                    key = _key(chunk_id)
                    shared.update([key] if key in names else [])
                    names[key] = chunk_id
                self._names = {key: names[key] for key in names if key not in shared}
            return self._names

    def _id(self, address: "tantivy.DocAddress") -> str:
        return str(self._searcher.doc(address)["id"][0])

    def _write(self) -> "tantivy.IndexWriter":
        if self._writer is None:
            try:
                self._writer = self._index.writer(_WRITER_BYTES, 1)
            except ValueError as error:
                if "LockBusy" not in str(error):
                    raise
                raise Busy(
                    f"{self.directory}: another writer holds the lexical index; wait for it to end"
                ) from error
        return self._writer


def terms(text: str) -> list[str]:
    """The stems, identifiers and bigrams of a text, as the index and its queries see them.

    Without stop words, unless there is nothing else; in order, with repeats.
    """
    text = _normal(text)
    spaced = _UNSPACED.sub(" ", text)
    found = _words(stop_words=False).analyze(spaced) + _query_grams(text)
    found += [term for term in _identifiers(text) if term not in found]
    return found or _words().analyze(spaced)


def _schema() -> "tantivy.Schema":
    import tantivy

    schema = tantivy.SchemaBuilder()
    schema.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    schema.add_integer_field("key", fast=True)
    for name in ("text", "title"):
        schema.add_text_field(name, tokenizer_name="words", index_option="freq")
    for name in ("exact", "gram"):
        schema.add_text_field(name, tokenizer_name="terms", index_option="freq")
    return schema.build()


@cache
def _words(stop_words: bool = True) -> "tantivy.TextAnalyzer":
    """Words as English stems; `stop_words` says whether they are kept."""
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    builder = TextAnalyzerBuilder(Tokenizer.simple())
    for step in (Filter.remove_long(_LONGEST_TERM), Filter.lowercase(), Filter.ascii_fold()):
        builder = builder.filter(step)
    if not stop_words:
        builder = builder.filter(Filter.stopword("english"))
    return builder.filter(Filter.stemmer("english")).build()


@cache
def _terms() -> "tantivy.TextAnalyzer":
    """Terms made here already, separated by spaces."""
    from tantivy import TextAnalyzerBuilder, Tokenizer

    return TextAnalyzerBuilder(Tokenizer.whitespace()).build()


def _document(chunk_id: str, text: str, title: str) -> "tantivy.Document":
    import tantivy

    text, title = _normal(text), _normal(title)
    document = tantivy.Document()
    document.add_text("id", chunk_id)
    document.add_integer("key", _key(chunk_id))
    document.add_text("text", _UNSPACED.sub(" ", text))
    document.add_text("title", _UNSPACED.sub(" ", title))
    for field, terms in (("exact", _identifiers), ("gram", _all_grams)):
        document.add_text(field, " ".join((*terms(title), *terms(text))))
    return document


def _query(schema: "tantivy.Schema", text: str) -> "tantivy.Query | None":
    """A disjunction of terms, or None where the text has none. Never parses the text as syntax."""
    from tantivy import Occur, Query

    text = _normal(text)
    spaced = _UNSPACED.sub(" ", text)
    words = _words(stop_words=False).analyze(spaced)
    grams = _query_grams(text)
    if not words and not grams:
        words = _words().analyze(spaced)
    weighted = [
        (field, term, weight)
        for field, terms, weight in (
            ("text", words, 1.0),
            ("gram", grams, 1.0),
            ("exact", _identifiers(text), _EXACT_WEIGHT),
            ("title", words, _TITLE_WEIGHT),
        )
        for term in dict.fromkeys(terms[:_QUERY_TERMS])
    ]
    clauses = [
        (
            Occur.Should,
            Query.boost_query(Query.term_query(schema, field, term, index_option="freq"), weight),
        )
        for field, term, weight in weighted
    ]
    return Query.boolean_query(clauses) if clauses else None


def _normal(text: str) -> str:
    """Compatibility forms unified (ﬁ → fi, Ａ → A, half-width kana); lone surrogates replaced."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", text.encode("utf-8", "replace").decode("utf-8"))


def _identifiers(text: str) -> list[str]:
    """Terms that mean something as they are written, lower-cased.

    Joined parts (`foo_bar`, `HR-17`, `docs/a.md`), letters with digits (`E0433`), two or more
    capitals (`IT`, which is a stop word in lower case), `C++` and `C#`.
    """
    found = []
    for match in _IDENTIFIER.finditer(text):
        term = match.group()
        plain = term.isalpha()
        if (plain and (len(term) == 1 or not term.isupper())) or term.isdigit():
            continue
        if len(term) <= _LONGEST_TERM:
            found.append(term.lower())
    return found


def _all_grams(text: str) -> list[str]:
    """Single characters and bigrams of runs of unspaced scripts."""
    return [
        run[i : i + size]
        for run in _UNSPACED.findall(text)
        for size in (1, 2)
        for i in range(len(run) + 1 - size)
    ]


def _query_grams(text: str) -> list[str]:
    """Bigrams of runs of unspaced scripts; of a run of one character, the character."""
    return [run[i : i + 2] for run in _UNSPACED.findall(text) for i in range(max(len(run) - 1, 1))]


def _key(chunk_id: str) -> int:
    """A 63-bit number for an id."""
    digest = hashlib.blake2b(chunk_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
