"""API keys: shown once when made, kept as hashes in STORAGE/service/keys.json.

A key is 256 random bits, so a plain sha256 of it cannot be searched back.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rag_assets.errors import BadRequest, StorageError
from rag_assets.index.versions import write_atomically
from rag_assets.service.principals import Allowance, Principal

EVERY_GROUP = "*"
KEY_PREFIX = "rag_"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}")


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key. Times are ISO 8601 in UTC; groups: None may read every document."""

    id: str
    name: str
    digest: str
    created_at: str
    groups: list[str] | None = field(default_factory=list)
    tenant: str | None = None
    may_write: bool = False
    expires_at: str | None = None
    revoked_at: str | None = None
    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    usd_per_day: float | None = None

    def state(self, now: datetime) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        expired = self.expires_at is not None and datetime.fromisoformat(self.expires_at) <= now
        return "expired" if expired else "active"

    @property
    def principal(self) -> Principal:
        """Who presents this key."""
        return Principal(
            id=f"key:{self.id}",
            name=self.name,
            groups=None if self.groups is None else tuple(self.groups),
            tenant=self.tenant,
            may_write=self.may_write,
            allowance=Allowance(self.requests_per_minute, self.requests_per_day, self.usd_per_day),
        )


class KeyStore:
    """The keys of one service; a change by another process is seen by the next look-up."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._stamp: tuple[int, int, int] | None = None
        self._keys: list[Key] = []
        self._by_digest: dict[str, Key] = {}

    @classmethod
    def at(cls, storage: str | Path) -> "KeyStore":
        """The keys of a storage directory."""
        return cls(Path(storage) / "service" / "keys.json")

    def all_keys(self) -> list[Key]:
        """Every key ever made, oldest first. Raises: StorageError when the file is damaged."""
        self._load()
        return list(self._keys)

    def find(self, secret: str) -> Key | None:
        """The key that this secret is of, whatever its state."""
        self._load()
        return self._by_digest.get(_digest(secret))

    def create(
        self,
        name: str,
        *,
        groups: Sequence[str] = (),
        tenant: str | None = None,
        may_write: bool = False,
        days: int | None = None,
        allowance: Allowance | None = None,
    ) -> tuple[Key, str]:
        """Make a key; returns it and the secret, which is kept nowhere.

        groups: those that the key's holder is in, besides `everyone`; `*` is all of them.
        Raises: BadRequest when an active key has this name already.
        """
        if not _NAME.fullmatch(name):
            raise BadRequest(
                f"key name: expected up to 64 letters, digits, spaces and . _ -, found {name!r}"
            )
        now = datetime.now(UTC)
        identity = secrets.token_hex(4)
        secret = f"{KEY_PREFIX}{identity}_{secrets.token_urlsafe(32)}"
        key = Key(
            id=identity,
            name=name,
            digest=_digest(secret),
            created_at=now.isoformat(timespec="seconds"),
            groups=None if EVERY_GROUP in groups else sorted(set(groups)),
            tenant=tenant,
            may_write=may_write,
            expires_at=None
            if days is None
            else (now + timedelta(days=days)).isoformat(timespec="seconds"),
            **asdict(allowance or Allowance()),
        )
        with self._changing():
            if any(held.name == name and held.state(now) == "active" for held in self._keys):
                raise BadRequest(f"key name: an active key is called {name!r}; revoke it first")
            self._save([*self._keys, key])
        return key, secret

    def revoke(self, id_or_name: str) -> Key:
        """End a key at once. Raises: BadRequest when no active key has this id or name."""
        now = datetime.now(UTC)
        with self._changing():
            for place, key in enumerate(self._keys):
                if id_or_name in (key.id, key.name) and key.revoked_at is None:
                    ended = {**asdict(key), "revoked_at": now.isoformat(timespec="seconds")}
                    self._save([*self._keys[:place], Key(**ended), *self._keys[place + 1 :]])
                    return Key(**ended)
        raise BadRequest(
            f"{id_or_name}: no key of this id or name is in use; see `rag-assets keys list`"
        )

    def _load(self) -> None:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            self._stamp, self._keys, self._by_digest = None, [], {}
            return
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if stamp == self._stamp:
            return
        try:
            rows: list[dict[str, Any]] = json.loads(self.path.read_bytes())["keys"]
            keys = [Key(**row) for row in rows]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StorageError(
                f"{self.path}: damaged ({error}); restore it from a backup, or remove it and make"
                " new keys with `rag-assets keys create`"
            ) from error
        self._keys, self._stamp = keys, stamp
        self._by_digest = {key.digest: key for key in keys}

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock of the keys file, with the newest keys loaded."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path.with_name(".keys.lock")).acquire(timeout=10)
        except (OSError, Timeout) as error:
            raise StorageError(f"{self.path}: cannot be written ({error})") from error
        with lock:
            self._load()
            yield

    def _save(self, keys: Sequence[Key]) -> None:
        data = json.dumps({"keys": [asdict(key) for key in keys]}, indent=1).encode()
        try:
            write_atomically(self.path, data)
            self.path.chmod(0o600)
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written ({error.strerror})") from error


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
