"""The sequence of index versions on disk: numbers, states, verdicts, the live pointer.

index/LIVE.json             the pointer; replaced atomically, the only thing promotion writes
index/promotions.jsonl      every promotion and rollback, appended
index/.lock                 one publisher
index/000042/               a version; sealed once MANIFEST.json is in it, never written again
index/verdicts/000042.json  outcomes of the blocking checks, bound to the manifest's digest
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rag_assets.errors import Busy, GateRefused, IndexNotReady, NoSuchVersion, StorageError
from rag_assets.index.base import Manifest
from rag_assets.records import digest_of

MANIFEST_FILE = "MANIFEST.json"
POINTER_FILE = "LIVE.json"
CANDIDATE_FILE = "CANDIDATE.json"

# A version is promoted only when each of these was evaluated on it and passed.
REQUIRED_CHECKS = (
    "completeness",
    "index_integrity",
    "retrieval_quality",
    "no_regression",
    "known_items",
    "expected_documents",
)


class State(StrEnum):
    """Where a version stands. BUILDING ones have no manifest and are dropped by the next build."""

    BUILDING = "building"
    CANDIDATE = "candidate"
    LIVE = "live"
    RETIRED = "retired"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Pointer:
    """What LIVE.json says."""

    version: int
    previous: int | None
    manifest: str  # digest of MANIFEST.json


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace a file so that readers and crashes see the old content or the new, never a part.

    durable: wait for the disk, so that this holds of power failures too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make renames and new names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Versions:
    """All versions of one knowledge base under STORAGE/index."""

    def __init__(self, storage: str | Path) -> None:
        self.root = Path(storage) / "index"

    # -- reading -----------------------------------------------------------------------------

    def directory(self, version: int) -> Path:
        """Where a version's files are or would be."""
        return self.root / f"{version:06d}"

    def numbers(self) -> list[int]:
        """Versions with a directory, oldest first."""
        if not self.root.is_dir():
            return []
        return sorted(int(d.name) for d in self.root.iterdir() if d.is_dir() and d.name.isdigit())

    def pointer(self) -> Pointer | None:
        """The live pointer, or None when nothing was ever promoted."""
        try:
            data = (self.root / POINTER_FILE).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return Pointer(**json.loads(data))
        except (ValueError, TypeError) as error:
            raise StorageError(
                f"{self.root / POINTER_FILE}: damaged ({error}); `rag-assets rollback VERSION`"
                f" serves a kept version (there are: {self._known()}), `rag-assets reconcile"
                " --repair` builds a new one"
            ) from error

    def live(self) -> Pointer:
        """The live pointer, or `IndexNotReady`."""
        pointer = self.pointer()
        if pointer is None:
            raise IndexNotReady(f"{self.root}: no live index yet; run `rag-assets refresh`")
        return pointer

    def manifest(self, version: int) -> Manifest:
        """The manifest of a sealed version."""
        path = self.directory(version) / MANIFEST_FILE
        try:
            return Manifest(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            pointer = self.pointer()
            if pointer is not None and pointer.version == version:
                raise StorageError(
                    f"{path}: the live version's files are gone; `rag-assets reconcile --repair`"
                    f" builds it anew, `rag-assets rollback VERSION` serves another (there are:"
                    f" {self._known()})"
                ) from None
            raise NoSuchVersion(
                f"index version {version} does not exist; there are: {self._known()}"
            ) from None
        except (ValueError, TypeError) as error:
            raise StorageError(
                f"{path}: damaged ({error}); `rag-assets reconcile --repair` builds the live"
                " version anew, the folder of any other can be removed"
            ) from error

    def _known(self) -> str:
        return ", ".join(map(str, self.sealed())) or "none"

    def manifest_digest(self, version: int) -> str:
        """What binds a verdict and the pointer to one exact version."""
        return digest_of((self.directory(version) / MANIFEST_FILE).read_bytes())

    def sealed(self) -> list[int]:
        """Versions that are complete on disk, oldest first."""
        return [n for n in self.numbers() if (self.directory(n) / MANIFEST_FILE).is_file()]

    def verdict(self, version: int) -> dict[str, Any]:
        """Outcomes by check name, of this exact version; empty when none were recorded."""
        path = self._verdict_path(version)
        try:
            verdict = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        if verdict.get("manifest") != self.manifest_digest(version):
            return {}
        return dict(verdict["checks"])

    def state(self, version: int) -> State:
        """Where a version stands."""
        pointer = self.pointer()
        if pointer is not None and pointer.version == version:
            return State.LIVE
        if version not in self.sealed():
            return State.BUILDING
        if any(entry["version"] == version for entry in self.promotions()):
            return State.RETIRED
        refused = any(not outcome["passed"] for outcome in self.verdict(version).values())
        return State.REFUSED if refused else State.CANDIDATE

    def promotions(self) -> list[dict[str, Any]]:
        """Every promotion and rollback so far, oldest first."""
        path = self.root / "promotions.jsonl"
        if not path.is_file():
            return []
        entries = []
        for line in path.read_text().splitlines():
            with suppress(ValueError):  # a line torn by a crash; the pointer is the truth
                entries.append(json.loads(line))
        return entries

    # -- writing; all under the publisher's lock -------------------------------------------------

    @contextmanager
    def publishing(self, timeout: float = 60) -> Iterator[None]:
        """Hold the publisher's lock; waits up to `timeout` seconds, then raises `Busy`."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / ".lock", timeout=timeout)
            lock.acquire()
        except Timeout as error:
            raise Busy(
                f"{self.root / '.lock'}: another process is publishing an index version; waited"
                f" {timeout:.0f} s, try again when it is done"
            ) from error
        except OSError as error:
            raise StorageError(f"{self.root}: cannot be written ({error.strerror})") from error
        try:
            yield
        finally:
            lock.release()

    def new_directory(self) -> tuple[int, Path]:
        """A fresh version number and its empty directory; half-built ones are dropped first."""
        sealed = set(self.sealed())
        for number in self.numbers():
            if number not in sealed:
                shutil.rmtree(self.directory(number))
        used = [*self.numbers(), *(entry["version"] for entry in self.promotions())]
        used += [int(path.stem) for path in (self.root / "verdicts").glob("*.json")]
        pointer = self.pointer()
        used += [pointer.version] if pointer else []
        number = max(used, default=0) + 1
        directory = self.directory(number)
        directory.mkdir(parents=True)
        return number, directory

    def write_manifest(self, manifest: Manifest) -> None:
        """Seal a version: from here on its directory is never written again."""
        data = json.dumps(asdict(manifest), indent=1, sort_keys=True).encode()
        write_atomically(self.directory(manifest.version) / MANIFEST_FILE, data)
        sync_directory(self.root)

    def record_outcome(self, version: int, name: str, outcome: Mapping[str, Any]) -> None:
        """Add one check's outcome (at least `passed`) to the verdict of a sealed version."""
        checks = {**self.verdict(version), name: dict(outcome)}
        verdict = {"manifest": self.manifest_digest(version), "checks": checks}
        data = json.dumps(verdict, indent=1, sort_keys=True, ensure_ascii=False).encode()
        write_atomically(self._verdict_path(version), data)

    def set_candidate(self, version: int) -> None:
        """Name the version that the checks, the report and the promotion are about."""
        data = json.dumps({"version": version}).encode()
        write_atomically(self.root / CANDIDATE_FILE, data)

    def candidate(self) -> int:
        """The version to judge; the live one when a refresh found nothing to change.

        Raises: IndexNotReady when no candidate was ever built.
        """
        try:
            return int(json.loads((self.root / CANDIDATE_FILE).read_bytes())["version"])
        except FileNotFoundError:
            raise IndexNotReady(
                f"{self.root}: no candidate yet; materialize candidate_index first"
            ) from None

    def waiting(self) -> int | None:
        """The newest version that passed its checks and was never live; None where none did.

        One that is older than what was promoted since waits for nothing any more.
        """
        newest = max((entry["version"] for entry in self.promotions()), default=0)
        for version in reversed(self.sealed()):
            if version <= newest:
                break
            with suppress(GateRefused):
                self.demand_proven(version)
                return version
        return None

    def promote(self, version: int, *, run_id: str = "") -> Pointer:
        """Make a version live, if every required check was evaluated on it and passed.

        Raises: GateRefused naming the checks that failed or are missing, or when another version
        was promoted since this one was derived.
        """
        manifest = self.manifest(version)
        pointer = self.pointer()
        if pointer is not None and pointer.version == version:
            return pointer
        if self.state(version) is State.RETIRED:
            raise GateRefused(
                f"index version {version} was live before and was replaced; to serve it again run"
                f" `rag-assets rollback {version}`"
            )
        self._demand_verdict(version)
        if pointer is not None and manifest.parent != pointer.version:
            raise GateRefused(
                f"index version {version} was derived from version {manifest.parent}, but version"
                f" {pointer.version} is live now; run `rag-assets refresh` again"
            )
        return self._flip(version, "promoted", run_id)

    def replace_live(self, version: int) -> Pointer:
        """Make a version live that holds what the live one does, but for what was erased.

        The one before the live version stays the one to roll back to.
        """
        return self._point(version, self.live().previous, "erasure", "")

    def remove(self, version: int) -> None:
        """Remove a version that is not live."""
        # Without its manifest a half-removed directory reads as half built, and goes next time.
        (self.directory(version) / MANIFEST_FILE).unlink(missing_ok=True)
        shutil.rmtree(self.directory(version), ignore_errors=True)

    def rollback(self, version: int | None = None) -> Pointer:
        """Make an earlier version live again: `version`, else the one that was live before.

        Raises: GateRefused when that version was never live and has no passing verdict.
        """
        live = self._live_unless_damaged(version)
        target = version if version is not None or live is None else live.previous
        if live is not None and target in (None, live.version):
            raise IndexNotReady(
                f"version {live.version} is live and there is no earlier one to roll back to"
            )
        if target is None or target not in self.sealed():
            raise NoSuchVersion(f"index version {target} is not kept; there are: {self._known()}")
        if not any(entry["version"] == target for entry in self.promotions()):
            self._demand_verdict(target)
        return self._point(target, live.version if live else None, "rolled back", "")

    def _live_unless_damaged(self, version: int | None) -> Pointer | None:
        """The live pointer; None where it is damaged and a version to go to was named."""
        try:
            return self.live()
        except StorageError:
            if version is None:
                raise
            return None

    def give_up_live(self) -> None:
        """Let go of a live version that cannot be read: of the pointer, and of what it names."""
        with suppress(StorageError):
            self.remove(self.live().version)
        (self.root / POINTER_FILE).unlink(missing_ok=True)

    def demand_proven(self, version: int) -> None:
        """Raises: GateRefused when a version neither was live nor passed every required check;
        IndexNotReady when it is not kept."""
        self.manifest(version)
        if self.state(version) not in (State.LIVE, State.RETIRED):
            self._demand_verdict(version)

    def _demand_verdict(self, version: int) -> None:
        verdict = self.verdict(version)
        missing = [name for name in REQUIRED_CHECKS if name not in verdict]
        failed = [name for name, outcome in verdict.items() if not outcome["passed"]]
        if failed:
            why = "; ".join(f"{name}: {verdict[name].get('summary', 'failed')}" for name in failed)
            raise GateRefused(f"index version {version} is refused: {why}")
        if missing:
            raise GateRefused(
                f"index version {version} has no passing verdict: {', '.join(missing)} not"
                " evaluated; materialize candidate_index and retrieval_report with their checks"
            )

    def _flip(self, version: int, event: str, run_id: str) -> Pointer:
        pointer = self.pointer()
        previous = pointer.version if pointer else None
        return self._point(version, previous, event, run_id)

    def _point(self, version: int, previous: int | None, event: str, run_id: str) -> Pointer:
        new = Pointer(version, previous, self.manifest_digest(version))
        write_atomically(self.root / POINTER_FILE, json.dumps(asdict(new)).encode())
        entry = {
            "version": version,
            "previous": previous,
            "event": event,
            "run_id": run_id,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        with (self.root / "promotions.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        return new

    def collect_garbage(self, keep: int) -> list[int]:
        """Remove old versions: all but the live one, the `keep` - 1 promoted before it, the newest
        refused or candidate one, and the one that waits. Returns the numbers removed."""
        pointer = self.pointer()
        if pointer is None:
            return []
        seen: dict[int, None] = {}
        for entry in reversed(self.promotions()):
            seen.setdefault(entry["version"])
        promoted = [number for number in seen if number != pointer.version]
        others = [n for n in self.sealed() if n not in seen and n != pointer.version]
        kept = {pointer.version, *promoted[: keep - 1], *others[-1:], self.waiting()}
        removed = [number for number in self.sealed() if number not in kept]
        for number in removed:
            self.remove(number)
        for left in self.root.glob("erased-*"):
            shutil.rmtree(left, ignore_errors=True)
        return removed

    def _verdict_path(self, version: int) -> Path:
        return self.root / "verdicts" / f"{version:06d}.json"
