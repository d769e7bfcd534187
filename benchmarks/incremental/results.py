"""What was measured so far, one JSON object a line, so that a long benchmark can be continued."""

import json
from pathlib import Path
from statistics import median


class Results:
    """Measurements with their keys: part, documents, system, repeat, step, and figures."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.is_file() else []
        self._rows = [json.loads(line) for line in lines]

    def add(self, **row: object) -> None:
        """Keep one measurement."""
        self._rows.append(row)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def forget(self, **key: object) -> None:
        """Drop the measurements with this key, to make them again."""
        dropped = self._of(key)
        self._rows = [row for row in self._rows if row not in dropped]
        self._path.write_text("".join(json.dumps(row) + "\n" for row in self._rows))

    def has(self, **key: object) -> bool:
        """Whether there is a measurement with this key."""
        return bool(self._of(key))

    def values(self, figure: str, **key: object) -> list[float]:
        """A figure of every measurement with this key that has it."""
        return [row[figure] for row in self._of(key) if row.get(figure) is not None]

    def median(self, figure: str, **key: object) -> float | None:
        """The median of `values`; None when there are none."""
        found = self.values(figure, **key)
        return median(found) if found else None

    def seen(self, name: str, **key: object) -> list:
        """The different values of a part of the key, in order of appearance."""
        return list(dict.fromkeys(row[name] for row in self._of(key) if name in row))

    def _of(self, key: dict[str, object]) -> list[dict]:
        return [row for row in self._rows if all(row.get(k) == v for k, v in key.items())]
