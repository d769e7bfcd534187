"""Pulling and publishing: a working directory on this machine, and the bucket that others see."""

import hashlib
import json
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from pathlib import Path

from rag_assets.config import KnowledgeBaseConfig, S3Config
from rag_assets.errors import Busy, StorageError
from rag_assets.mirror.bucket import (
    AT_ONCE,
    Bucket,
    Files,
    Head,
    Overtaken,
    Stored,
    at_once,
    digest_in,
    failures,
    nonce,
)
from rag_assets.mirror.lease import LASTS, Lease
from rag_assets.mirror.working import (
    INDEX,
    MANIFEST,
    PUBLISHED,
    Chosen,
    Local,
    WorkingDirectory,
    read_part,
    version_of,
)

LIVE = "index/LIVE.json"
_BASE = ".mirror.base.json"
_FORGOTTEN = "forgotten.json"
# Its files have names that are never used twice, and are of use whoever wrote them.
_ADDED_ONLY = "embeddings"
_KEEP = timedelta(days=1)
_WINDOW = 4 * AT_ONCE  # parts of one file in memory

Find = Callable[[str], bytes | None]
"""A part's digest → its bytes, where a file here has them."""
New = dict[str, tuple[str, int]]
"""A new part's name → the file it is of, and which of its parts."""


class Mirror:
    """One storage in an object store and its working directory on this machine.

    keep: for how long a state that was replaced can still be read by those who began to.
    """

    def __init__(
        self,
        url: str,
        directory: str | Path,
        s3: S3Config | None = None,
        keep: timedelta = _KEEP,
    ) -> None:
        self.bucket = Bucket(url, s3)
        self._url = url
        self._here = WorkingDirectory(directory, url)
        self._keep = keep

    @contextmanager
    def working(self, patience: float = 600.0, lasts: float | None = None) -> Iterator[None]:
        """Work on the state that was published last, alone, and publish what becomes of it, also
        where the work failed: nothing is paid for twice.

        Raises: Busy when another machine is at work for longer than `patience` seconds, or took
        over because this one went silent for `lasts` seconds. StorageError.
        """
        try:
            lease = Lease(self.bucket, self._holder(), lasts or LASTS)
            lease.acquire(patience)
        except failures() as error:
            raise self._failed("leased", error) from error
        with lease.renewed():
            self.pull()
            self._here.save(unpublished=True)
            try:
                yield
            finally:
                self.push()
                self._here.save(unpublished=False)

    def states(self) -> int:
        """How many states were published so far. Raises: StorageError."""
        try:
            head = self.bucket.head()
        except failures() as error:
            raise self._failed("read", error) from error
        return head.generation if head else 0

    def examine(self) -> str:
        """What is published, in words. Raises: StorageError when the bucket cannot be used."""
        try:
            self.bucket.demand_conditions()
        except failures() as error:
            raise self._failed("used", error) from error
        return f"{self._url}: can be written, {self.states()} states published"

    @property
    def unpublished(self) -> bool:
        """Whether work was done here that could not be published yet."""
        return bool(self._here.state().get("unpublished"))

    def pull(self, chosen: Chosen = PUBLISHED) -> bool:
        """Make these files of the working directory what was published last.

        What a refresh left here and could not publish stays, unless somebody else published since.
        Returns whether anything was pulled. Raises: StorageError when the store cannot be asked or
        the disk here cannot be written; what is here stays.
        """
        try:
            head = self.bucket.head()
            if head is None or self._seen(chosen) == head.etag:
                return False
            files = self.bucket.listing(head.listing)
            self._fetch(files, chosen)
            self._remember(chosen, head.etag, files)
        except failures() as error:
            raise self._failed("read", error) from error
        return True

    def push(self) -> bool:
        """Publish what the working directory holds; whether there was anything new.

        Raises: Busy when somebody else published since the last pull: theirs counts, and is pulled.
        StorageError when the store cannot be written.
        """
        try:
            head = self.bucket.head()
            if (head.etag if head else "") != self._seen(PUBLISHED):
                raise self._lost()
            if head is None:
                self.bucket.demand_conditions()
            base = self.bucket.listing(head.listing) if head else {}
            files, new = _named(self._here.files(base), base)
            if files == base:
                return False
            at_once(self._put, new.items())
            made = self._publish(files, head)
            self._remember(PUBLISHED, made.etag, files)
        except Overtaken as error:
            raise self._lost() from error
        except failures() as error:
            raise self._failed("written", error) from error
        return True

    def collect(self, keep: timedelta | None = None) -> int:
        """Remove objects of states that are not the newest and were not within `keep`.

        First HEAD.json stops naming those states, which also turns away whoever is about to publish
        something made from one; then their objects go. Killed in between, the next call goes on.
        Returns how many objects were removed.

        Raises: Busy when somebody publishes meanwhile, StorageError.
        """
        keep = self._keep if keep is None else keep
        limit = time.time() - keep.total_seconds()
        try:
            head = self.bucket.head()
            if head is None:
                return 0
            recent = tuple((name, until) for name, until in head.retired if until > limit)
            named = {head.listing, *(name for name, _ in recent)}
            used = self._parts_of(named, head)
            every = chain(
                ((name in used, item) for name, item in self.bucket.parts()),
                ((name in named, item) for name, item in self.bucket.listings()),
            )
            old = [
                item.path
                for needed, item in every
                if not needed and (not keep or item.modified.timestamp() < limit)
            ]
            if old or recent != head.retired:
                made = self.bucket.put_head(replace(head, retired=recent), head)
                for chosen in (PUBLISHED, INDEX):
                    if self._seen(chosen) == head.etag:
                        self._here.save(**{chosen.name: made.etag})
            self.bucket.delete(old)
        except Overtaken as error:
            raise Busy(f"{self._url}: another machine published meanwhile; try again") from error
        except failures() as error:
            raise self._failed("tidied", error) from error
        return len(old)

    # -- publishing ------------------------------------------------------------------------------

    def _put(self, item: tuple[str, tuple[str, int]]) -> None:
        name, (path, number) = item
        data = read_part(self._here.root / path, number)
        if hashlib.sha256(data).hexdigest() != digest_in(name):
            raise OSError(f"{path} was written to while it was published")
        self.bucket.put_part(name, data)

    def _publish(self, files: Files, head: Head | None) -> Head:
        """Let HEAD.json name these files. Raises: Overtaken when it was replaced meanwhile."""
        now = time.time()
        before = (*head.retired, (head.listing, now)) if head else ()
        limit = now - self._keep.total_seconds()
        recent = tuple((name, until) for name, until in before if until > limit)
        return self.bucket.put_head(Head(self.bucket.put_listing(files), 0, recent), head)

    def _parts_of(self, listings: set[str], head: Head) -> set[str]:
        """The parts that these states are made of; an older state that is gone is made of none."""
        used: set[str] = set()
        for name in listings:
            try:
                files = self.bucket.listing(name)
            except FileNotFoundError:
                if name == head.listing:
                    raise
                continue
            used.update(part for stored in files.values() for part in stored.parts)
        return used

    # -- pulling ---------------------------------------------------------------------------------

    def _fetch(self, files: Files, chosen: Chosen) -> None:
        """Bring what is missing, then the pointer, then drop what is no longer there.

        A version that is another one now, because a document was erased from it, goes first.
        """
        wanted = {path: stored for path, stored in files.items() if path in chosen}
        held = self._here.files(wanted, chosen)
        missing = [path for path in wanted if _differs(held.get(path), wanted[path])]
        stale = self._erased(held, wanted)
        missing += [path for path in wanted if version_of(path) in stale and path not in missing]
        self._here.drop(path for path in held if version_of(path) in stale)
        find = self._here.part_finder(held)
        for group in _in_order(missing):
            self._bring({path: wanted[path] for path in group}, find)
        base = self._base()
        gone = (path for path in held if path not in wanted)
        self._here.drop(path for path in gone if not _is_own(path, base, files))

    def _erased(self, held: Mapping[str, Local], wanted: Files) -> set[str]:
        """The versions here that are in the bucket under the same number, but are others now."""
        return {
            version
            for version in {version_of(name) for name in held} - {""}
            if f"{version}/{MANIFEST}" in wanted and not self._here.is_published(version, wanted)
        }

    def _bring(self, files: Files, find: Find) -> None:
        def part(name: str) -> bytes:
            return find(digest_in(name)) or self.bucket.part(name)

        def small(path: str) -> None:
            self._here.write(path, map(part, files[path].parts))

        at_once(small, (path for path in files if len(files[path].parts) < 2))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for path, stored in files.items():
                if len(stored.parts) > 1:
                    starts = range(0, len(stored.parts), _WINDOW)
                    windows = (stored.parts[start : start + _WINDOW] for start in starts)
                    self._here.write(
                        path, (data for some in windows for data in pool.map(part, some))
                    )

    # -- what is remembered ------------------------------------------------------------------------

    def _seen(self, chosen: Chosen) -> str:
        """The ETag of HEAD.json when these files were last in step with it."""
        return str(self._here.state().get(chosen.name, ""))

    def _remember(self, chosen: Chosen, etag: str, files: Files) -> None:
        said = {chosen.name: etag}
        if chosen is PUBLISHED:
            said[INDEX.name] = etag
            base = {path: [stored.size, *stored.parts] for path, stored in files.items()}
            self._here.write(_BASE, [json.dumps(base).encode()])
        self._here.save(**said)

    def _base(self) -> dict[str, Stored]:
        """The files of the state that the working directory was last in step with."""
        try:
            said = json.loads((self._here.root / _BASE).read_bytes())
        except (OSError, ValueError):
            return {}
        return {path: Stored(size, tuple(parts)) for path, (size, *parts) in said.items()}

    def _holder(self) -> str:
        """What tells this working directory from all others."""
        known = self._here.state().get("id")
        if not known:
            known = uuid.uuid4().hex[:12]
            self._here.save(id=known)
        return f"{socket.gethostname()}/{known}"

    def _lost(self) -> Busy:
        self._here.save(**{PUBLISHED.name: "", INDEX.name: ""})
        self.pull()
        self._here.save(unpublished=False)
        return Busy(
            f"{self._url}: another machine published while this one worked; its state is"
            " here now and counts, refresh again"
        )

    def _failed(self, done: str, error: Exception) -> StorageError:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        if isinstance(error, OSError) and error.errno is not None:
            return StorageError(
                f"{self._here.root}: {self._url} cannot be {done}, because the disk here cannot be"
                f" used ({error.strerror}); make room or mend its rights, or set another"
                " `working_directory`"
            )
        return StorageError(
            f"{self._url}: cannot be {done} ({first}); check the address, the credentials and the"
            " endpoint, in `s3:` or in the environment"
        )


def mirror_of(config: KnowledgeBaseConfig) -> Mirror | None:
    """The mirror of a knowledge base whose storage is in an object store; None for a directory."""
    if not config.remote:
        return None
    keep = timedelta(hours=config.upkeep.bucket_hours)
    return Mirror(config.remote, config.storage, config.s3, keep)


@contextmanager
def published(config: KnowledgeBaseConfig) -> Iterator[None]:
    """Work on the state that was published last, and publish what becomes of it.

    Raises: Busy when a refresh is running, here or on another machine.
    """
    from filelock import FileLock, Timeout

    mirror = mirror_of(config)
    if mirror is None:
        yield
        return
    root = Path(config.storage)
    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / ".refresh.lock", timeout=60), mirror.working(patience=60):
            yield
    except Timeout as error:
        raise Busy(f"{root}: a refresh is running; try again when it is done") from error


def _named(held: Mapping[str, Local], base: Files) -> tuple[dict[str, Stored], New]:
    """The files as they are to be published, and which of their parts are new."""
    names = {digest_in(part): part for stored in base.values() for part in stored.parts}
    files: dict[str, Stored] = {}
    new: New = {}
    for path, local in held.items():
        if not _differs(local, base.get(path)):
            files[path] = base[path]
            continue
        for number, digest in enumerate(local.digests):
            if digest not in names:
                names[digest] = f"{digest}-{nonce()}"
                new[names[digest]] = (path, number)
        files[path] = Stored(local.size, tuple(names[digest] for digest in local.digests))
    return files, new


def _differs(local: Local | None, stored: Stored | None) -> bool:
    return local is None or stored is None or local.digests != stored.digests


def _in_order(paths: list[str]) -> list[list[str]]:
    """What may be brought in any order, then what seals versions, then the pointer to one."""
    seals = [path for path in paths if path.endswith(f"/{MANIFEST}")]
    last = [path for path in paths if path == LIVE]
    return [[path for path in paths if path not in {*seals, *last}], seals, last]


def _is_own(path: str, base: Files, files: Files) -> bool:
    """Whether a file that the bucket lacks was made here, and others would gain by it.

    Not when something was erased since: it may be in there.
    """
    if path.partition("/")[0] != _ADDED_ONLY or path in base:
        return False
    return files.get(_FORGOTTEN) == base.get(_FORGOTTEN)
