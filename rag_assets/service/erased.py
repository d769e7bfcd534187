"""Erasures of other machines reach the audit log of this one.

A receipt names a document, its uri and its chunks by their hashes only: a line is of it where a
whole string of the line has one of them.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from rag_assets.errors import StorageError
from rag_assets.index.versions import write_atomically
from rag_assets.service.audit import AuditLog

log = logging.getLogger(__name__)

_DONE = ".erasures.json"


def take_out_erased(audit: AuditLog, storage: str | Path) -> int:
    """Erase from an audit log what was erased elsewhere; how many lines were changed.

    An erasure that cannot be done, because the chain is broken, is logged and tried again.
    """
    if not audit.directory.exists():
        return 0
    done, changed = set(_done(audit)), 0
    for path in sorted((Path(storage) / "erasures").glob("*.json")):
        if path.stem in done:
            continue
        receipt = json.loads(path.read_bytes())
        names = frozenset(receipt.get("told_sha256", ()))
        note = {
            "event": "erasure",
            "erasure": receipt["id"],
            "document": receipt["document_sha256"],
        }
        try:
            changed += audit.erase(_teller(names), note)
        except StorageError as error:
            log.warning("%s", error)
            continue
        done.add(path.stem)
        write_atomically(audit.directory / _DONE, json.dumps(sorted(done)).encode())
    return changed


def _done(audit: AuditLog) -> list[str]:
    try:
        return list(json.loads((audit.directory / _DONE).read_bytes()))
    except FileNotFoundError:
        return []


def _teller(names: frozenset[str]) -> Callable[[str], bool]:
    """What knows a string by its hash."""
    return lambda text: hashlib.sha256(text.encode()).hexdigest() in names
