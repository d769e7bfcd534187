"""Images and scans, read by Tesseract where it is installed."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rag_assets.parsing.base import Parsed, Unparseable
from rag_assets.parsing.building import TextBuilder

if TYPE_CHECKING:
    import pypdfium2

_DPI = 200
_LARGEST_SIDE = 10_000  # pixels
MOST_PAGES = 50  # about 2 s a page
_INSTALL = "install Tesseract (Debian: apt-get install tesseract-ocr) to have it read"


def ocr_state() -> str:
    """What decides how pictures become text, besides this code: part of the recipe of parsing."""
    return f"{shutil.which('tesseract') is not None} {languages()}"


def languages() -> str:
    """The languages that Tesseract looks for: $RAG_OCR_LANGUAGES, such as `eng+deu`, or `eng`."""
    return os.environ.get("RAG_OCR_LANGUAGES", "eng")


def parse_image(data: bytes, name: str) -> Parsed:
    """The text in a picture."""
    builder = TextBuilder()
    builder.block(recognised(data))
    return builder.parsed("image/*", None, {"ocr": True})


def recognised(image: bytes) -> str:
    """The text that Tesseract finds in an image file.

    Raises: Unparseable missing_tool, damaged.
    """
    program = shutil.which("tesseract")
    if program is None:
        raise Unparseable("missing_tool", f"it is an image; {_INSTALL}")
    with tempfile.TemporaryDirectory(prefix="rag-assets-") as folder:
        path = Path(folder, "image")
        path.write_bytes(image)
        done = subprocess.run(
            [program, str(path), "stdout", "-l", languages()],
            capture_output=True,
            check=False,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [""]
        raise Unparseable("damaged", f"Tesseract cannot read it: {said[-1]}")
    return done.stdout.decode("utf-8", "replace")


def page_image(document: "pypdfium2.PdfDocument", index: int) -> bytes:
    """A page of a PDF as an image file: grey, 200 dpi, PGM, which needs no imaging library."""
    page = document[index]
    try:
        # pdfium counts 72 points an inch; a poster is shrunk to what Tesseract can hold.
        scale = min(_DPI / 72, _LARGEST_SIDE / max(*page.get_size(), 1))
        bitmap = page.render(scale=scale, grayscale=True)
        pixels, stride = bytes(bitmap.buffer), bitmap.stride
        rows = (pixels[row * stride : row * stride + bitmap.width] for row in range(bitmap.height))
        return b"P5 %d %d 255\n" % (bitmap.width, bitmap.height) + b"".join(rows)
    finally:
        page.close()
