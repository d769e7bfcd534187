"""Jupyter notebooks."""

import json
from typing import Any

from rag_assets.parsing.base import Parsed, Unparseable
from rag_assets.parsing.building import clean_metadata, first_title
from rag_assets.parsing.decoding import decode
from rag_assets.parsing.markdown import markdown_headings
from rag_assets.parsing.normalise import normalise

_LONGEST_OUTPUT = 2000  # characters of one output; logs go on for megabytes


def parse_notebook(data: bytes, name: str) -> Parsed:
    """Markdown cells as they are, code and text outputs as fenced blocks."""
    try:
        notebook = json.loads(decode(data))
    except (ValueError, RecursionError) as error:
        raise Unparseable("damaged", f"it is not readable as a notebook: {error}") from error
    if not isinstance(notebook, dict):
        raise Unparseable("damaged", "it is not readable as a notebook: it holds no cells")
    info = notebook.get("metadata") or {}
    language = (info.get("language_info") or info.get("kernelspec") or {}).get("name", "")
    cells = notebook.get("cells") or [
        cell for sheet in notebook.get("worksheets") or [] for cell in sheet.get("cells") or []
    ]
    blocks = [_blocks(cell, language) for cell in cells if isinstance(cell, dict)]
    text = normalise("\n\n".join(block for of_cell in blocks for block in of_cell))
    if not text:
        raise Unparseable("no_text", "its cells are empty")
    headings = tuple(markdown_headings(text))
    authors = ", ".join(str(author.get("name", "")) for author in info.get("authors") or [])
    metadata = clean_metadata({"programming_language": language, "author": authors})
    title = info.get("title") or first_title(headings)
    return Parsed(text, title, "application/x-ipynb+json", headings, metadata=metadata)


def _blocks(cell: dict[str, Any], language: str) -> list[str]:
    source = _joined(cell.get("source", cell.get("input", "")))
    if cell.get("cell_type") != "code":
        return [source] if source.strip() else []
    blocks = [_fenced(source, language)] if source.strip() else []
    for output in cell.get("outputs") or []:
        data = output.get("data") or {}
        text = _joined(output.get("text") or data.get("text/plain") or "")
        if text.strip():
            short = text[:_LONGEST_OUTPUT]
            blocks.append(_fenced(short + ("…" if len(text) > len(short) else ""), ""))
    return blocks


def _joined(source: Any) -> str:
    return "".join(map(str, source)) if isinstance(source, list) else str(source)


def _fenced(code: str, language: str) -> str:
    fence = "```" if "```" not in code else "~~~~"
    code = code.strip("\n")
    return f"{fence}{language}\n{code}\n{fence}"
