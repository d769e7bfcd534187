"""Texts that a scan read and a fetch may want, in a temporary file."""

from array import array
from tempfile import TemporaryFile
from typing import IO


class Spool:
    """Texts by key: memory is bounded by their keys, not by the source."""

    def __init__(self) -> None:
        self._file: IO[bytes] = TemporaryFile()  # noqa: SIM115  (lives as long as this object)
        self._places: dict[str, int] = {}
        self._offsets = array("q", [0])

    @property
    def empty(self) -> bool:
        """Whether nothing was added yet."""
        return not self._places

    def add(self, key: str, data: bytes) -> None:
        """Keep a text; of two with one key, the later one."""
        self._places[key] = len(self._offsets) - 1
        self._file.seek(self._offsets[-1])
        self._file.write(data)
        self._offsets.append(self._offsets[-1] + len(data))

    def read(self, key: str) -> bytes | None:
        """A text that was added."""
        place = self._places.get(key)
        if place is None:
            return None
        self._file.seek(self._offsets[place])
        return self._file.read(self._offsets[place + 1] - self._offsets[place])
