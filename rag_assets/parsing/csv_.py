"""Tables in text files: every row a line of `header: value` pairs, readable without the header."""

import csv
import io
from collections.abc import Iterable, Sequence

from rag_assets.parsing.base import Parsed, Unparseable
from rag_assets.parsing.building import TextBuilder
from rag_assets.parsing.decoding import decode

_LONGEST_CELL = 64 << 20  # characters
_DELIMITERS = ",;\t|"


def parse_csv(data: bytes, name: str) -> Parsed:
    """A csv file, whatever its delimiter."""
    csv.field_size_limit(_LONGEST_CELL)
    text = decode(data)
    return _parsed(text, _delimiter(text), "text/csv")


def parse_tsv(data: bytes, name: str) -> Parsed:
    """A tab-separated file."""
    csv.field_size_limit(_LONGEST_CELL)
    return _parsed(decode(data), "\t", "text/tab-separated-values")


def _parsed(text: str, delimiter: str, media_type: str) -> Parsed:
    try:
        rows = list(csv.reader(io.StringIO(text.replace("\0", "")), delimiter=delimiter))
    except csv.Error as error:
        raise Unparseable("damaged", f"it is not readable as a table: {error}") from error
    builder = TextBuilder()
    for line in table_lines(rows):
        builder.block(line, tight=True)
    return builder.parsed(media_type)


def _delimiter(text: str) -> str:
    """The delimiter that cuts the first lines into the most columns, each the same number."""
    lines = text.splitlines()[:20]

    def regularity(delimiter: str) -> tuple[int, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        usual = max(set(widths), key=widths.count, default=0)
        return (widths.count(usual) if usual > 1 else 0, usual)

    return max(_DELIMITERS, key=regularity)


def table_lines(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows as `header: value; …` lines; without a header row, as values between bars."""
    filled = [[" ".join(cell.split()) for cell in row] for row in rows]
    filled = [row for row in filled if any(row)]
    if not filled:
        return []
    header = filled[0]
    if len(filled) == 1 or not _is_header(header):
        return [" | ".join(row) for row in filled]
    return [_pairs(header, row) for row in filled[1:]]


def _is_header(row: Sequence[str]) -> bool:
    """Whether a row can name columns: words in all of its cells, each once."""
    named = [cell for cell in row if cell]
    words = all(any(c.isalpha() for c in cell) and len(cell) <= 100 for cell in named)
    return words and len(set(named)) == len(named) and len(named) > len(row) / 2


def _pairs(header: Sequence[str], row: Sequence[str]) -> str:
    names = [*header, *[""] * (len(row) - len(header))]
    return "; ".join(
        f"{name}: {cell}" if name else cell for name, cell in zip(names, row, strict=False) if cell
    )
