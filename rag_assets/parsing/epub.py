"""EPUB books."""

import posixpath
from urllib.parse import unquote

from rag_assets.parsing.base import Parsed, Unparseable
from rag_assets.parsing.building import TextBuilder, clean_title
from rag_assets.parsing.containers import Container, core_properties
from rag_assets.parsing.html import html_text, html_tree
from rag_assets.parsing.markup import render_into

_PACKAGE = "{http://www.idpf.org/2007/opf}"
_CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}"


def parse_epub(data: bytes, name: str) -> Parsed:
    """The chapters in reading order; each file of the book is a page."""
    container = Container(data)
    start = container.xml("META-INF/container.xml")
    root_file = None if start is None else start.find(f".//{_CONTAINER}rootfile")
    path = "" if root_file is None else root_file.get("full-path", "")
    package = container.xml(path)
    if package is None:
        raise Unparseable("damaged", "it is not readable as EPUB: its package file is missing")
    files = {item.get("id"): item.get("href", "") for item in package.iter(f"{_PACKAGE}item")}
    builder = TextBuilder()
    order = [files.get(item.get("idref"), "") for item in package.iter(f"{_PACKAGE}itemref")]
    for number, file in enumerate(filter(None, order), start=1):
        place = posixpath.join(posixpath.dirname(path), unquote(file))
        chapter = container.read(posixpath.normpath(place))
        if chapter.strip():
            builder.page(number)
            render_into(builder, html_tree(html_text(chapter)))
    metadata = core_properties(package)
    title = clean_title(metadata.pop("title", None))
    return builder.parsed("application/epub+zip", title, metadata)
