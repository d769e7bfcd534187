"""Which format bytes are of: told by the bytes; the name only decides between kinds of text."""

import io
import json
import re
import zipfile

from rag_assets.parsing.base import Unparseable
from rag_assets.parsing.code import language_of
from rag_assets.parsing.containers import BROKEN_ZIP
from rag_assets.parsing.decoding import beginning, decode, is_text

OFFICE = "application/vnd.openxmlformats-officedocument."
DOCX = OFFICE + "wordprocessingml.document"
XLSX = OFFICE + "spreadsheetml.sheet"
PPTX = OFFICE + "presentationml.presentation"
OPEN_DOCUMENT = "application/vnd.oasis.opendocument."
ODT = OPEN_DOCUMENT + "text"
ODS = OPEN_DOCUMENT + "spreadsheet"
ODP = OPEN_DOCUMENT + "presentation"
EPUB = "application/epub+zip"

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"{\\rtf", "application/rtf"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"BZh", "application/x-bzip2"),
    (0, b"\xfd7zXZ\0", "application/x-xz"),
    (257, b"ustar", "application/x-tar"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (8, b"WEBP", "image/webp"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"\x7fELF", "application/x-elf"),
    (0, b"MZ", "application/x-msdownload"),
    (0, b"SQLite format 3\0", "application/vnd.sqlite3"),
    (0, b"PAR1", "application/vnd.apache.parquet"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"RIFF", "audio/wav"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
    (0, b"\0asm", "application/wasm"),
    (0, b"\xca\xfe\xba\xbe", "application/java-vm"),
)
_BY_SUFFIX = {
    suffix: media_type
    for media_type, suffixes in {
        "text/markdown": "md markdown mdown mdx",
        "text/x-rst": "rst rest",
        "text/asciidoc": "adoc asciidoc",
        "text/html": "html htm xhtml",
        "application/xml": "xml rss atom svg xsd xsl xslt dita docbook dbk opml kml tei",
        "application/json": "json geojson jsonld webmanifest",
        "application/x-ndjson": "jsonl ndjson",
        "application/x-ipynb+json": "ipynb",
        "text/csv": "csv",
        "text/tab-separated-values": "tsv",
        "message/rfc822": "eml",
        "text/plain": "txt text log",
    }.items()
    for suffix in suffixes.split()
}
_XML = re.compile(r"\s*<\?xml\b")
_MAIL_HEADER = re.compile(
    r"(?im)^(received|from|to|subject|date|message-id|mime-version|return-path|delivered-to)[ \t]*:"
)
_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html[\s>])", re.I | re.S
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def sniff(data: bytes, name: str) -> str:
    """The media type of a document.

    Raises: Unparseable unknown_type for binary data nobody here knows, encrypted for office files
    that say so, damaged for archives without a directory.
    """
    if b"%PDF-" in data[:1024]:
        return "application/pdf"
    if data.startswith(b"PK\x03\x04"):
        return _zip_type(data)
    if data.startswith(_OLE):
        return _ole_type(data)
    for offset, magic, media_type in _MAGIC:
        if data.startswith(magic, offset):
            return media_type
    return _text_type(data, name)


def _zip_type(data: bytes) -> str:
    """What lies in a zip container decides what it is."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
            declared = _declared(archive) if "mimetype" in names else ""
    except BROKEN_ZIP as error:
        raise Unparseable("damaged", f"its zip container is broken: {error}") from error
    if declared:
        return declared
    if "[Content_Types].xml" in names:
        for folder, media_type in (("word/", DOCX), ("xl/", XLSX), ("ppt/", PPTX)):
            if any(name.startswith(folder) for name in names):
                return media_type
    return "application/zip"


def _declared(archive: zipfile.ZipFile) -> str:
    """The type that OpenDocument and EPUB containers name in their first member."""
    with archive.open("mimetype") as file:
        return file.read(200).decode("ascii", "replace").strip()


def _ole_type(data: bytes) -> str:
    """Old Office formats, told apart by the names of their streams (UTF-16 in the directory)."""

    def has(stream: str) -> bool:
        return stream.encode("utf-16-le") in data

    if has("EncryptedPackage"):
        raise Unparseable("encrypted", "it needs a password; save it without one")
    for stream, media_type in (
        ("__substg1.0_", "application/vnd.ms-outlook"),
        ("WordDocument", "application/msword"),
        ("Workbook", "application/vnd.ms-excel"),
        ("PowerPoint Document", "application/vnd.ms-powerpoint"),
    ):
        if has(stream):
            return media_type
    return "application/x-ole-storage"


def _text_type(data: bytes, name: str) -> str:
    """The kind of a text: source code and markdown by name, the rest by a look and then by name."""
    if not is_text(data):
        raise Unparseable("unknown_type", "it is neither text nor any binary format known here")
    language = language_of(name)
    if language:
        return f"text/x-{language}"
    head = beginning(data)
    known = _BY_SUFFIX.get(name.lower().rpartition(".")[2] if "." in name else "")
    if known != "text/markdown" and _HTML.match(head):
        return "text/html"
    if known and known != "text/plain":
        return known
    if _is_mail(head):
        return "message/rfc822"
    if _XML.match(head):
        return "application/xml"
    return "application/json" if known is None and _is_json(data) else "text/plain"


def _is_mail(head: str) -> bool:
    """Whether a text opens with the headers of a mail."""
    block = re.split(r"\r?\n\r?\n", head.lstrip("\ufeff"), maxsplit=1)[0]
    if not re.match(r"(?:From [^\n]+\n)?[A-Za-z-]+[ \t]*:", block):
        return False
    found = {match.lower() for match in _MAIL_HEADER.findall(block)}
    return len(found) >= 3 and bool(found & {"message-id", "received", "mime-version"})


def _is_json(data: bytes) -> bool:
    if data[:1] not in {b"{", b"["} and data.lstrip()[:1] not in {b"{", b"["}:
        return False
    try:
        json.loads(decode(data))
    except (ValueError, RecursionError):
        return False
    return True
