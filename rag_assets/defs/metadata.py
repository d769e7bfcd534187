"""What people see of a materialization in the Dagster UI: previews, tables, a plot."""

import base64
from collections.abc import Mapping, Sequence

import dagster as dg
import polars as pl

from rag_assets.evaluation import plots

_PREVIEW_ROWS = 8
_PREVIEW_WIDTH = 80


def preview(frame: pl.DataFrame, columns: Sequence[str]) -> dg.MetadataValue:
    """The first rows of some columns as a markdown table, long values cut."""
    rows = [_row(columns), _row("---" for _ in columns)]
    rows += [_row(map(_cell, row)) for row in frame.head(_PREVIEW_ROWS).select(columns).iter_rows()]
    return dg.MetadataValue.md("\n".join(rows))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.MetadataValue:
    """A markdown table."""
    lines = [_row(header), _row("---" for _ in header), *(_row(map(_cell, row)) for row in rows)]
    return dg.MetadataValue.md("\n".join(lines))


def _row(cells: object) -> str:
    return "| " + " | ".join(cells) + " |"  # type: ignore[arg-type]


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= _PREVIEW_WIDTH else text[: _PREVIEW_WIDTH - 1] + "…"


def bars(
    values: Mapping[str, float],
    floors: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
) -> dg.MetadataValue:
    """A bar chart of metrics from 0 to 1 with 95 % intervals and the floors they must reach."""
    return _shown(plots.bars(values, floors, intervals), "metrics")


def forest(changes: Mapping[str, tuple[float, float, float]]) -> dg.MetadataValue:
    """Changes of metrics around 0: (mean, low, high) by name."""
    return _shown(plots.forest(changes), "changes")


def _shown(png: bytes, name: str) -> dg.MetadataValue:
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")
