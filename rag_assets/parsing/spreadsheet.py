"""Spreadsheets: xlsx, xlsm, xlsb, xls and ods."""

import io
import re
from datetime import date, datetime, time, timedelta

from rag_assets.parsing.base import Parsed, Scalar, Unparseable
from rag_assets.parsing.building import TextBuilder
from rag_assets.parsing.containers import Container, core_properties
from rag_assets.parsing.csv_ import table_lines
from rag_assets.parsing.sniff import ODS, XLSX

_DIMENSION = re.compile(rb'<dimension ref="[A-Z]+\d+:([A-Z]+)(\d+)"')
# The reader holds a sheet as a dense table: one stray cell in the last corner of an Excel sheet
# would take 17 thousand million cells.
_MOST_CELLS = 20_000_000


def parse_spreadsheet(data: bytes, name: str) -> Parsed:
    """Every sheet under its name, every row as a line of `header: value` pairs."""
    import python_calamine as calamine

    metadata: dict[str, Scalar] = {}
    media_type = "application/vnd.ms-excel"
    if data.startswith(b"PK"):
        container = Container(data)
        _check_dimensions(container)
        ods = "content.xml" in container.members
        media_type = ODS if ods else XLSX
        properties = container.xml("meta.xml" if ods else "docProps/core.xml")
        metadata = core_properties(properties)
    try:
        workbook = calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    except calamine.PasswordError as error:
        raise Unparseable("encrypted", "it needs a password; save it without one") from error
    except calamine.CalamineError as error:
        raise Unparseable("damaged", f"it is not readable as a spreadsheet: {error}") from error
    builder = TextBuilder()
    title = metadata.pop("title", None)
    for number, sheet in enumerate(workbook.sheet_names, start=1):
        try:
            rows = workbook.get_sheet_by_name(sheet).to_python(skip_empty_area=True)
        except calamine.WorksheetNotFound:
            continue  # a chart or a macro sheet
        lines = table_lines([_cell(value) for value in row] for row in rows)
        if lines:
            builder.page(number)
            builder.heading(2, sheet)
            builder.block("\n".join(lines))
    return builder.parsed(media_type, str(title) if title else None, metadata)


def _check_dimensions(container: Container) -> None:
    for name in container.members:
        if name.startswith("xl/worksheets/") and name.endswith(".xml"):
            found = _DIMENSION.search(container.read(name)[:4096])
            cells = _column(found[1]) * int(found[2]) if found else 0
            if cells > _MOST_CELLS:
                message = f"a sheet spans {cells:,} cells, the limit is {_MOST_CELLS:,}"
                raise Unparseable("too_large", message)


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number


def _cell(value: object) -> str:
    """A cell as people write it: whole numbers without a fraction, midnight without a time."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime):
        midnight = value.time() == time(0)
        return value.date().isoformat() if midnight else value.isoformat(" ", "minutes")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return str(value)
