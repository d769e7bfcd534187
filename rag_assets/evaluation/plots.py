"""Plots of metrics as PNG images, small enough to stand in a table or a log."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def bars(
    values: Mapping[str, float],
    floors: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
) -> bytes:
    """A bar chart of metrics from 0 to 1 with 95 % intervals and the floors they must reach."""
    from PIL import Image, ImageDraw

    line, left, width = 26, 110, 360
    image = Image.new("RGB", (left + width + 70, line * len(values) + 34), "white")
    draw = ImageDraw.Draw(image)
    for place, (name, value) in enumerate(values.items()):
        top = place * line + 8
        floor = floors.get(name)
        good = floor is None or value >= floor
        draw.text((8, top + 4), name, fill="#222222")
        draw.rectangle(
            (left, top, left + value * width, top + 16), fill="#4c8c5a" if good else "#b8483c"
        )
        if name in intervals:
            low, high = (left + bound * width for bound in intervals[name])
            draw.line((low, top + 8, high, top + 8), fill="#222222", width=2)
        if floor is not None:
            at = left + floor * width
            draw.line((at, top - 3, at, top + 19), fill="#222222", width=2)
        draw.text((left + width + 8, top + 4), f"{value:.3f}", fill="#222222")
    foot = line * len(values) + 12
    draw.text((left, foot), "bar: value · thin line: 95 % interval · tick: floor", fill="#666666")
    return _png(image)


def forest(changes: Mapping[str, tuple[float, float, float]]) -> bytes:
    """Changes of metrics around 0: (mean, low, high) by name."""
    from PIL import Image, ImageDraw, ImageFont

    line, width = 26, 360
    left = max(110, *(round(ImageFont.load_default().getlength(name)) + 16 for name in changes))
    reach = max(0.02, *(abs(bound) for change in changes.values() for bound in change)) * 1.05
    image = Image.new("RGB", (left + width + 70, line * len(changes) + 34), "white")
    draw = ImageDraw.Draw(image)

    def across(value: float) -> float:
        return left + width / 2 + value / reach * width / 2

    draw.line((across(0), 4, across(0), line * len(changes) + 4), fill="#888888", width=1)
    for place, (name, (mean, low, high)) in enumerate(changes.items()):
        middle = place * line + 16
        colour = "#b8483c" if high < 0 else "#4c8c5a" if low > 0 else "#444444"
        draw.text((8, middle - 6), name, fill="#222222")
        draw.line((across(low), middle, across(high), middle), fill=colour, width=3)
        draw.ellipse((across(mean) - 5, middle - 5, across(mean) + 5, middle + 5), fill=colour)
        draw.text((left + width + 8, middle - 6), f"{mean:+.3f}", fill="#222222")
    foot = line * len(changes) + 12
    draw.text((left, foot), f"worse < 0 < better, ±{reach:.2f} · 95 % intervals", fill="#666666")
    return _png(image)


def _png(image: "Image") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
