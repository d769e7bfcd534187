"""Taking a document's name and words out of the small files that tell of past work.

Receipts, reports, verdicts, queues and messages: JSON, or a JSON object a line. What names the
document or quotes it is replaced; a line of a `.jsonl` file that does is removed.
"""

import json
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rag_assets.index.versions import write_atomically

ERASED = "[erased]"
_FEWEST_WORDS = 5  # of a quotation; fewer are anybody's
_WORD = re.compile(r"\w+")


class Scrubber:
    """Knows one document by its names (id, uri) and its words."""

    def __init__(self, names: Collection[str], texts: Iterable[str]) -> None:
        self._names = [name for name in names if name]
        self._words = " ".join(_words(" ".join(texts)))

    def scrub(self, folder: Path, skip: Collection[str]) -> int:
        """Rewrite the files below a folder, but for those folders in it; returns how many."""
        changed = 0
        for path in sorted(folder.rglob("*.json*")):
            inner = path.relative_to(folder)
            skipped = any(str(inner).startswith(f"{name}/") for name in skip)
            if skipped or not path.is_file():
                continue
            text = path.read_text("utf-8", "replace")
            clean = self._lines(text) if path.suffix == ".jsonl" else self._whole(text)
            if clean != text:
                write_atomically(path, clean.encode())
                changed += 1
        return changed

    def told(self, value: str) -> bool:
        """Whether a string names the document or quotes it."""
        if any(name in value for name in self._names):
            return True
        words = _words(value)
        return len(words) >= _FEWEST_WORDS and f" {' '.join(words)} " in f" {self._words} "

    def clean(self, value: Any) -> Any:
        """A JSON value without the document. An object that names it loses all its strings."""
        if isinstance(value, str):
            return ERASED if self.told(value) else value
        if isinstance(value, list):
            return [self.clean(item) for item in value]
        if not isinstance(value, dict):
            return value
        of_it = any(isinstance(item, str) and item in self._names for item in value.values())
        return {
            ERASED if key in self._names else key: ERASED
            if of_it and isinstance(item, str)
            else self.clean(item)
            for key, item in value.items()
        }

    def _whole(self, text: str) -> str:
        try:
            value = json.loads(text)
        except ValueError:
            return text
        clean = self.clean(value)
        return text if clean == value else json.dumps(clean, indent=1, ensure_ascii=False)

    def _lines(self, text: str) -> str:
        return "".join(line for line in text.splitlines(keepends=True) if not self._tells(line))

    def _tells(self, line: str) -> bool:
        with suppress(ValueError):
            value = json.loads(line)
            return bool(self.clean(value) != value)
        return False


def _words(text: str) -> list[str]:
    return _WORD.findall(text)
