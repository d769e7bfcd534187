"""The stages of one knowledge base, bound to its configuration and storage.

Each method is one stage: frames in, frame and account out. Nothing here knows who calls it, so the
same code runs under Dagster, in `watch` and in tests.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import polars as pl

from rag_assets.chunking.chunks import chunk_documents
from rag_assets.cleaning.documents import clean_documents
from rag_assets.config import (
    InboxConfig,
    KnowledgeBaseConfig,
    SourceConfig,
    TokensRerank,
    load_config,
)
from rag_assets.costs import Budget, Entry, Ledger
from rag_assets.costs.ledger import now
from rag_assets.embedding import (
    EmbeddingStore,
    model_facts,
    model_fingerprint,
    open_encoder,
    open_tokenizer,
    price_per_token,
    token_form,
)
from rag_assets.embedding.base import Encoder
from rag_assets.embedding.embed import EmbeddingProgress
from rag_assets.embedding.embeddings import Embedded, embed_chunks
from rag_assets.embedding.remembering import Remembering
from rag_assets.errors import Busy, ConfigError, RagError, StorageError
from rag_assets.incremental import Reuse
from rag_assets.index.build import MANIFEST_TABLE
from rag_assets.index.versions import Versions
from rag_assets.lake import Lake
from rag_assets.mirror import Mirror, mirror_of
from rag_assets.refresh.breakers import Breakers, is_local
from rag_assets.refresh.charging import charging, spared
from rag_assets.sources import Source, open_source
from rag_assets.sources.collect import Comparison, collect, compare
from rag_assets.sources.forgotten import Forgotten
from rag_assets.sources.marks import (
    Look,
    Mark,
    Marks,
    identity_of,
    look,
    nothing_differs,
    partitions_that_differ,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rag_assets.embedding.remote import Limit, Spent

log = logging.getLogger(__name__)

Method = TypeVar("Method", bound=Callable[..., Any])
Progress = Callable[[str, int], None]
"""Called with a stage's name and how many more of its items are done."""


def _silent(stage: str, done: int) -> None:
    """Nobody is watching."""


@dataclass(frozen=True, slots=True)
class Options:
    """How one refresh treats its sources.

    audit: distrust change tokens and read everything again. sources: the names to look at, or all.
    accept_quarantine: let what is in quarantine now hold nothing any more. insist: ask also a
    source that failed so often that it is left alone for a while. patient: look at a source at most
    once in the time that its `every` says, as the sensor does.
    """

    confirm_deletes: bool = False
    audit: bool = False
    sources: tuple[str, ...] = ()
    accept_quarantine: bool = False
    insist: bool = False
    patient: bool = False


_KEPT_FOR = timedelta(days=7)
_SMALL_STORE = 10_000  # vectors; 15 MB are not worth looking for garbage in


@dataclass(frozen=True, slots=True)
class Listing:
    """One source: its previous snapshot, and what its listing means; or why it has none."""

    config: SourceConfig
    previous: pl.DataFrame
    listing: pl.DataFrame
    comparison: Comparison | None
    error: str | None = None
    mark: Mark | None = None
    source: Source | None = None


def _clocked(stage: Method) -> Method:
    """Adds the time that a stage's method takes to `Pipeline.spent`, under its name."""
    name = stage.__name__

    @wraps(stage)
    def run(self: "Pipeline", *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return stage(self, *args, **kwargs)
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - started

    return cast(Method, run)


class Pipeline:
    """Everything a refresh needs, opened when first used.

    spent: seconds by stage since the last call of `raw_documents`.
    """

    def __init__(self, config: KnowledgeBaseConfig, progress: Progress = _silent) -> None:
        self.config = config
        self.progress = progress
        self.storage = config.storage
        self.lake = Lake.at(config.storage)
        self.versions = Versions(config.storage)
        self.spent: dict[str, float] = {}
        self._expected: dict[str, Listing] = {}
        self._looks: dict[str, tuple[float, str, tuple[Source, Look]]] = {}

    @classmethod
    def open(cls, path: str | Path | None = None) -> "Pipeline":
        """The pipeline of a configuration file."""
        return cls(load_config(path))

    @classmethod
    def current(cls, config: KnowledgeBaseConfig) -> "Pipeline":
        """The pipeline for looking at what is there, with what other machines published.

        Raises: StorageError when the object store cannot be read and nothing is here.
        """
        pipeline = cls(config)
        try:
            pipeline.pull()
        except StorageError as error:
            if pipeline.versions.pointer() is None:
                raise
            log.warning("looking at what is here: %s", error)
        return pipeline

    @property
    def partitions(self) -> list[str]:
        """Every partition, SOURCE:BUCKET, in the order of the configuration."""
        return [p for source in self.config.sources for p in source.partitions]

    @cached_property
    def model(self) -> str:
        """The fingerprint of the configured embedding model."""
        return model_fingerprint(self.config.embedding)

    @property
    def dimension(self) -> int:
        """The length of the configured model's vectors."""
        return model_facts(self.config.embedding)[0]

    @property
    def max_tokens(self) -> int:
        """The configured model's sequence limit, special tokens included."""
        return model_facts(self.config.embedding)[1]

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """The embedding model's own tokenizer."""
        return open_tokenizer(self.config.embedding)

    def encoder(self) -> Encoder:
        """The embedding model, loaded once a process; what a service takes is in the ledger."""
        return self._accounted(None, self._asked)

    @cached_property
    def sentences(self) -> Remembering:
        """Vectors of what answers are made of: mostly the same sentences for every version."""
        return Remembering(self.encoder().encode)

    @cached_property
    def _breakers(self) -> Breakers:
        return Breakers(self.storage)

    @cached_property
    def ledger(self) -> Ledger:
        """What was paid."""
        return Ledger(self.storage)

    def _accounted(self, limit: "Limit | None", spent: "Spent | None") -> Encoder:
        encoder = open_encoder(self.config.embedding)
        if self._price:
            from rag_assets.embedding.remote import RemoteEncoder

            if isinstance(encoder, RemoteEncoder):
                return encoder.accounted(limit, spent)
        return encoder

    @cached_property
    def _price(self) -> float:
        """US dollars a token. Raises: ConfigError when a budget needs it and it is not known."""
        price = price_per_token(self.config.embedding)
        if price is None and self.config.costs.budget_usd is not None:
            raise ConfigError(
                f"costs.budget_usd: the price of {self.config.embedding.model!r} is not known; set"
                " embedding.usd_per_million_tokens too"
            )
        return price or 0.0

    def _asked(self, texts: int, tokens: int, usd: float) -> None:
        """Queries of eval sets."""
        model = self.config.embedding.model
        self.ledger.add(Entry(now(), "query", model, "evaluation", texts, tokens, 0, usd))

    @cached_property
    def store(self) -> EmbeddingStore:
        """The vectors of the configured model, shared by all partitions and versions."""
        directory = Path(self.storage) / "embeddings" / self.model
        return EmbeddingStore(directory, self.model, self.dimension)

    @contextmanager
    def refreshing(self) -> Iterator[None]:
        """Hold the refresh lock, so that two refreshes of one storage never interleave.

        With storage in an object store no other machine works on it meanwhile: what was published
        last is pulled first, and what the refresh left is published at its end, also where it
        failed, so that work is not paid for twice.

        Raises: Busy when another refresh runs, or published meanwhile from another machine.
        """
        with self._locked(), self.mirror.working() if self.mirror else nullcontext():
            yield

    @cached_property
    def mirror(self) -> Mirror | None:
        """The storage in its object store; None where it is a directory."""
        return mirror_of(self.config)

    def pull(self) -> None:
        """Bring what another machine published, unless a refresh is running; publish what an
        earlier one could not.

        Raises: StorageError when the object store cannot be read.
        """
        if self.mirror is None:
            return
        with suppress(Busy), self._locked(timeout=0):
            if self.mirror.unpublished:
                with self.mirror.working(patience=0):
                    return
            self.mirror.pull()

    def _locked(self, timeout: float = 600) -> AbstractContextManager[object]:
        from filelock import FileLock, Timeout

        root = Path(self.storage)
        try:
            root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(root / ".refresh.lock")
            try:
                return lock.acquire(timeout=0)
            except Timeout:
                if not timeout:
                    raise
                log.warning("%s: another refresh is running; waiting for it to end", root)
                return lock.acquire(timeout=timeout)
        except Timeout as error:
            raise Busy(
                f"{root}: another refresh is running; waited {timeout:.0f} s, try again later"
            ) from error
        except OSError as error:
            raise StorageError(f"{root}: cannot be written ({error.strerror})") from error

    # -- stages --------------------------------------------------------------------------------

    def list_sources(self, options: Options) -> list[Listing]:
        """List every chosen source. One that fails is reported and left exactly as it was."""
        chosen = options.sources or tuple(source.name for source in self.config.sources)
        return [self._list(self.config.source(name), options) for name in chosen]

    def expect(self, listings: Iterable[Listing]) -> None:
        """Let the next `raw_documents` take these, made with its options, and not list again."""
        self._expected = {item.config.name: item for item in listings}

    def _list(self, config: SourceConfig, options: Options) -> Listing:
        previous = self.lake.read("raw_documents", config.partitions)
        breakers = None if is_local(config) else self._breakers
        if breakers is not None and not options.insist and (why := breakers.why_open(config.name)):
            return Listing(config, previous, previous.clear(), None, why)
        mark = None if options.audit else self._marks.read(config.name)
        try:
            source, found = self._looked(config, previous, mark, options)
        except RagError as error:
            if breakers is not None:
                breakers.failed(config.name, str(error))
            return Listing(config, previous, previous.clear(), None, str(error))
        if breakers is not None:
            breakers.worked(config.name)
        comparison = compare(
            config,
            found.listing,
            previous,
            confirm_deletes=options.confirm_deletes,
            audit=options.audit,
        )
        if found.mark is not None and nothing_differs(previous, found.listing, comparison):
            self._marks.write(config.name, found.mark, previous)
        return Listing(config, previous, found.listing, comparison, None, found.mark, source)

    def _looked(
        self, config: SourceConfig, previous: pl.DataFrame, mark: Mark | None, options: Options
    ) -> tuple[Source, Look]:
        """What a source lists; of one looked at lately, what it listed then.

        What was seen counts no longer once a refresh changed the snapshot. Raises: RagError.
        """
        snapshot, now = identity_of(previous) if config.every else "", time.monotonic()
        if options.patient and config.name in self._looks:
            until, seen, kept = self._looks[config.name]
            if now < until and seen == snapshot:
                return kept
        source = open_source(config)
        found = source, self._allowed(config, look(config, source, previous, mark))
        if options.patient and config.every:
            self._looks[config.name] = (now + config.every, snapshot, found)
        return found

    def _allowed(self, config: SourceConfig, found: Look) -> Look:
        """A look without what was forgotten, unless it was pushed again on purpose."""
        if isinstance(config, InboxConfig):
            return found
        return replace(found, listing=Forgotten(self.storage).left(found.listing))

    @property
    def _marks(self) -> Marks:
        return Marks(self.lake.root)

    def _mark(self, item: Listing, collected: pl.DataFrame, wanted: set[str]) -> None:
        """Remember how far a source was read, when all of what it told is in the snapshot."""
        if item.mark is None or item.comparison is None:
            return
        if partitions_that_differ(item.previous, item.listing) <= wanted:
            rest = item.previous.filter(~pl.col("partition").is_in(wanted))
            self._marks.write(item.config.name, item.mark, pl.concat([rest, collected]))

    @_clocked
    def raw_documents(
        self, partitions: Iterable[str], options: Options
    ) -> tuple[pl.DataFrame, list[Listing]]:
        """The raw rows of these partitions, and the listings they come from."""
        self.spent.clear()
        wanted = set(partitions)
        touched = [s.name for s in self.config.sources if wanted & set(s.partitions)]
        chosen = [name for name in touched if not options.sources or name in options.sources]
        expected, self._expected = self._expected, {}
        listings = [
            expected.get(name) or self._list(self.config.source(name), options) for name in chosen
        ]
        frames = [self._collected(item, wanted) for item in listings]
        skipped = [p for name in touched if name not in chosen for p in _of(name, wanted)]
        frames.append(self.lake.read("raw_documents", skipped))
        return pl.concat(frames), listings

    def _collected(self, item: Listing, wanted: set[str]) -> pl.DataFrame:
        """The raw rows of one source in these partitions."""
        if item.comparison is None:
            return _in(item.previous, wanted)
        frame = collect(
            item.comparison,
            item.previous,
            self.lake,
            item.source or open_source(item.config),
            wanted & set(item.config.partitions),
            self._stage("reading"),
        )
        self._mark(item, frame, wanted)
        return frame

    @_clocked
    def documents(self, raw: pl.DataFrame, partitions: Iterable[str]) -> Reuse:
        """Parse and clean what changed."""
        partitions = list(partitions)
        touched = [s for s in self.config.sources if set(s.partitions).intersection(partitions)]
        previous = self.lake.read("documents", partitions)
        progress = self._stage("parsing")
        return clean_documents(raw, previous, self.lake, touched, partitions, progress)

    @_clocked
    def chunks(self, documents: pl.DataFrame, partitions: Iterable[str]) -> Reuse:
        """Cut what changed."""
        return chunk_documents(
            documents,
            self.lake.read("chunks", partitions),
            self.config.chunking,
            self.tokenizer,
            self.max_tokens,
            self._stage("chunking"),
        )

    def embeddings(self, chunks: pl.DataFrame) -> Embedded:
        """Embed texts never seen before."""
        self._settle_tokens()
        done = 0

        def embedded(progress: EmbeddingProgress) -> None:
            nonlocal done
            self.progress("embedding", progress.done - done)
            done = progress.done

        model = self.config.embedding.model
        limit = Budget(self.config.costs, self.ledger).refusal
        with charging(self.ledger, model, chunks, self._spared(chunks)) as charges:
            return embed_chunks(
                chunks,
                self.store,
                lambda: self._accounted(limit, None),
                self.model,
                embedded,
                charges.add,
            )

    def _spared(self, chunks: pl.DataFrame) -> dict[str, tuple[int, int, float]]:
        """What the embedding store spares where embedding is paid for."""
        if not self._price:
            return {}
        missing = self.store.missing(chunks["text_key"].to_list())
        return spared(chunks, missing, self.lake, self.model, self._price)

    def collect_embeddings(self, now: datetime) -> int:
        """Drop vectors that neither the lake nor a kept version needs; returns how many.

        Looks only when at least half of the store may be garbage, and never at what is younger than
        `_KEPT_FOR`: what is deleted today is often back tomorrow.
        """
        numbers = self.versions.sealed()
        needed = sum(self.versions.manifest(number).chunks for number in numbers)
        if self.store.vectors() <= 2 * needed + _SMALL_STORE:
            return 0
        columns = ["text_key"]
        tables = [self.versions.directory(number) / MANIFEST_TABLE for number in numbers]
        frames = [pl.read_parquet(table, columns=columns) for table in tables]
        frames.append(self.lake.read("embeddings", self.partitions, columns))
        keep = pl.concat(frames)["text_key"].unique().to_list()
        return self.store.collect_garbage(keep, _KEPT_FOR, now)

    def _settle_tokens(self) -> None:
        """Keep token vectors if the rerank needs them, else give their space back."""
        form = token_form(self.config.embedding)
        if form is not None and isinstance(self.config.retrieval.rerank, TokensRerank):
            self.store.keep_tokens(form.dimension)
        else:
            self.store.forget_tokens()

    def _stage(self, name: str) -> Callable[[int], None]:
        return lambda done: self.progress(name, done)


def _in(frame: pl.DataFrame, partitions: set[str]) -> pl.DataFrame:
    return frame.filter(pl.col("partition").is_in(partitions))


def _of(source: str, partitions: Iterable[str]) -> list[str]:
    return sorted(p for p in partitions if p.rpartition(":")[0] == source)
