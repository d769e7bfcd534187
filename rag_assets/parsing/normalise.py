"""The one form that every text takes before offsets into it are taken."""

import re
import unicodedata

# C0 and C1 controls but tab and line ends; the soft hyphen, which splits words that no reader sees
# split; and the two non-characters that XML and several indexes refuse.
_NOT_TEXT = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_MANY_LINE_ENDS = re.compile("\n{4,}")


def normalise(text: str) -> str:
    """The text in NFC with `\\n` line ends and without control characters and trailing spaces.

    More than three line ends in a row become three: the markdown splitter is quadratic in them
    (20,000 take it more than 12 s), and nobody reads them. Nothing else is changed.
    """
    text = _NOT_TEXT.sub("", _LINE_ENDS.sub("\n", text))
    if not text.isascii():
        text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
        text = unicodedata.normalize("NFC", text.removeprefix("\ufeff"))
    text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    return _MANY_LINE_ENDS.sub("\n\n\n", text).strip("\n")
