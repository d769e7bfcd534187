"""Bytes of a text file → characters, whatever their encoding."""

import codecs
import re

from rag_assets.parsing.base import Unparseable

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x08\x1b"))
_CONTROLS_IN_UTF8 = 0.1  # share of control bytes up to which valid UTF-8 counts as text
_CONTROLS_IN_OTHERS = 0.01
_SAMPLE = 64 << 10
_DETECTED = 32 << 10
# What Western European texts use beyond ASCII, and the encodings that detectors take it for.
_SIGNS = "’‘“”„‚«»–—…•°§€£©®·¿¡\xa0´²½™"
_LETTERS = "äöüßÄÖÜéèêëàâáãåçñíìîïóòôõúùûøæÉÈÀÇÑØÅÆÁÍÓÚ"
_CONFUSED = {"cp1252", "latin_1", "iso8859_15", "cp1250", "cp1254", "cp1257", "mac_roman"}
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


def decode(data: bytes) -> str:
    """The text of bytes that are text. Raises: Unparseable unknown_type when they are binary."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    wide = _wide_encoding(data)
    if wide:
        return data.decode(wide, errors="replace")
    if not is_text(data):
        raise Unparseable("unknown_type", "it is neither text nor any binary format known here")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _mostly_utf8(data) or data.decode(_single_byte_encoding(data), errors="replace")


def is_text(data: bytes) -> bool:
    """Whether bytes are text, judged by their beginning."""
    if any(data.startswith(mark) for mark, _ in _MARKS) or _wide_encoding(data):
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data[:_SAMPLE])
    except UnicodeDecodeError:
        return _share_of_controls(data) <= _CONTROLS_IN_OTHERS
    return _share_of_controls(data) <= _CONTROLS_IN_UTF8


def beginning(data: bytes) -> str:
    """The first characters of a text, as far as a look at them needs."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) : 8192].decode(encoding, errors="replace")
    return data[:4096].decode(_wide_encoding(data) or "utf-8", errors="replace")


def _share_of_controls(data: bytes) -> float:
    sample = data[:_SAMPLE]
    return 1 - len(sample.translate(None, _CONTROLS)) / max(len(sample), 1)


def _wide_encoding(data: bytes) -> str | None:
    """UTF-16 without a mark shows as a zero in every second byte of mostly Latin text."""
    sample = data[: _SAMPLE & ~1]
    half = len(sample) // 2
    if half < 2 or b"\0" not in sample:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    for few, many, encoding in ((even, odd, "utf-16-le"), (odd, even, "utf-16-be")):
        if many > 0.4 * half and few < 0.05 * half and len(data) % 2 == 0:
            return encoding
    return None


def _mostly_utf8(data: bytes) -> str | None:
    """UTF-8 with single broken bytes, as in a truncated file, where whole characters prevail."""
    text = data.decode("utf-8", errors="replace")
    broken = text.count("\N{REPLACEMENT CHARACTER}")
    whole = sum(1 for character in text if character > "\x7f") - broken
    return text if whole > 2 * broken else None


def _single_byte_encoding(data: bytes) -> str:
    """The likeliest encoding of text that is not UTF-8.

    Windows-1252, and with it Latin-1, wherever that makes sense: detectors confuse it with its
    rarer neighbours on short texts.
    """
    first = _NOT_ASCII.search(data)
    begin = max(0, (first.start() if first else 0) - 4096)
    sample = data[begin : begin + _DETECTED]
    high = b"".join(_NOT_ASCII.findall(sample)).decode("cp1252", errors="replace")
    if all(character in _SIGNS for character in high):
        return "cp1252"
    detected = _detected(sample)
    letters = sum(1 for byte in sample if byte > 0x7F or chr(byte).isalpha())
    western = sum(1 for character in high if character in _SIGNS + _LETTERS) >= 0.9 * len(high)
    if western and len(high) <= 0.3 * letters and detected.keys() & _CONFUSED:
        return "cp1252"
    return next(iter(detected), "cp1252")


def _detected(sample: bytes) -> dict[str, None]:
    """The encodings that fit a sample, the best one first."""
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    return dict.fromkeys([] if best is None else [best.encoding, *best.could_be_from_charset])
