"""What was measured of each source, between refreshes.

    lake/repetition/SOURCE.json     how it was measured, and the partitions that it left behind

A changed set of repeated lines concerns documents of other partitions than those that a refresh is
about. Their partitions are `behind` until they were cleaned anew, also after a crash.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from rag_assets.lake import Lake


@dataclass(frozen=True, slots=True)
class Measured:
    """One source's record. key: names the way of measuring; empty when it never was."""

    key: str = ""
    behind: tuple[str, ...] = ()


def read_measured(lake: Lake, source: str) -> Measured:
    """The record of a source; of one never measured, or whose record is damaged, an empty one."""
    try:
        found = json.loads(lake.note_path("repetition", source).read_bytes())
        return Measured(str(found["key"]), tuple(found["behind"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Measured()


def write_measured(lake: Lake, source: str, key: str, behind: Iterable[str]) -> None:
    """Replace the record of a source; nothing is written when it says the same."""
    record = Measured(key, tuple(sorted(behind)))
    if record != read_measured(lake, source):
        data = json.dumps({"key": record.key, "behind": record.behind}).encode()
        lake.write_note("repetition", source, data)
