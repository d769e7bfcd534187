"""Small real files of every format, made on the spot."""

import io
import tarfile
import zipfile
import zlib

import docx


def zipped(members: dict[str, str | bytes], *, stored: tuple[str, ...] = ()) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            kind = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            archive.writestr(name, data, kind)
    return file.getvalue()


def tarred(members: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def pdf(
    pages: list[list[str]],
    *,
    title: str = "",
    extra: dict[int, bytes] | None = None,
    catalog: bytes = b"",
    trailer: bytes = b"",
) -> bytes:
    """A PDF with one line of text below the other on each page, in Helvetica.

    Objects: 1 catalog, 2 pages, 3 font, 4 info, 5 … pages and contents in turn; `extra` adds more.
    """
    objects: dict[int, bytes] = {3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"}
    objects[4] = (
        b"<</Title(%s)/Author(Ines Ruiz)/CreationDate(D:20260401120000Z)>>" % title.encode()
    )
    kids = []
    for index, lines in enumerate(pages):
        number = 5 + 2 * index
        kids.append(b"%d 0 R" % number)
        objects[number] = (
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F 3 0 R>>>>"
            b"/Contents %d 0 R>>" % (number + 1)
        )
        shown = [_escaped(line) for line in lines]
        text = (
            b"BT /F 11 Tf 72 720 Td 14 TL " + b" T* ".join(b"(%s) Tj" % s for s in shown) + b" ET"
        )
        objects[number + 1] = stream(text if lines else b"")
    objects[1] = b"<</Type/Catalog/Pages 2 0 R" + catalog + b">>"
    objects[2] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(pages), b" ".join(kids))
    return pdf_of({**objects, **(extra or {})}, trailer)


def pdf_of(objects: dict[int, bytes], trailer: bytes = b"") -> bytes:
    """A PDF file of numbered objects; 1 is the catalog, 4 the properties."""
    data = b"%PDF-1.7\n"
    offsets = {}
    for number, body in sorted(objects.items()):
        offsets[number] = len(data)
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(data)
    size = max(objects) + 1
    data += b"xref\n0 %d\n0000000000 65535 f \n" % size
    for number in range(1, size):
        data += b"%010d 00000 n \n" % offsets.get(number, 0)
    info = b"/Info 4 0 R" if 4 in objects else b""
    data += b"trailer\n<</Size %d/Root 1 0 R%s%s>>\n" % (size, info, trailer)
    return data + b"startxref\n%d\n%%%%EOF\n" % start


def stream(data: bytes, attributes: bytes = b"") -> bytes:
    return b"<</Length %d%s>>stream\n%s\nendstream" % (len(data), attributes, data)


def flate(data: bytes, attributes: bytes = b"") -> bytes:
    return stream(zlib.compress(data, 9), b"/Filter/FlateDecode" + attributes)


def _escaped(line: str) -> bytes:
    data = line.encode("cp1252")
    return data.replace(b"\\", rb"\\").replace(b"(", rb"\(").replace(b")", rb"\)")


def word() -> bytes:
    document = docx.Document()
    document.core_properties.author = "Ines Ruiz"
    document.core_properties.title = "Leave policy 2026"
    document.add_heading("Leave policy", 0)
    document.add_paragraph("Thirty days a year.")
    document.add_heading("Carrying over", 1)
    document.add_paragraph("Five days until March", style="List Bullet")
    document.add_paragraph("None without asking", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for row, cells in enumerate([["Grade", "Days"], ["A|1", "30"]]):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    document.add_heading("Sick leave", 2)
    document.add_paragraph("Tell your lead.")
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


_CORE = (
    '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/'
    'core-properties" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:dcterms="http://purl.org/dc/terms/"><dc:title>{title}</dc:title>'
    "<dc:creator>Ines Ruiz</dc:creator><dcterms:created>2026-04-01T10:00:00Z</dcterms:created>"
    "</cp:coreProperties>"
)
_RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}'
    "</Relationships>"
)
_RELATION = (
    '<Relationship Id="{}" Target="{}" Type="http://schemas.openxmlformats.org/officeDocument/'
    '2006/relationships/{}"/>'
)
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def relations(*links: tuple[str, str, str]) -> str:
    return _RELATIONS.format("".join(_RELATION.format(*link) for link in links))


def workbook(sheets: dict[str, str]) -> bytes:
    """An xlsx of sheet name → the XML of its sheetData (and what stands before it)."""
    names = "".join(
        f'<sheet name="{name}" sheetId="{i}" r:id="r{i}"/>' for i, name in enumerate(sheets, 1)
    )
    members = {
        "[Content_Types].xml": "<Types xmlns='http://schemas.openxmlformats.org/package/2006/"
        "content-types'><Default Extension='xml' ContentType='application/xml'/></Types>",
        "_rels/.rels": relations(("r1", "xl/workbook.xml", "officeDocument")),
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_LINKS}"><sheets>{names}</sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": relations(
            *((f"r{i}", f"worksheets/sheet{i}.xml", "worksheet") for i in range(1, len(sheets) + 1))
        ),
        "docProps/core.xml": _CORE.format(title="Prices 2026"),
    }
    for i, body in enumerate(sheets.values(), 1):
        members[f"xl/worksheets/sheet{i}.xml"] = f'<worksheet xmlns="{_MAIN}">{body}</worksheet>'
    return zipped(members)


def sheet_data(rows: list[list[str | float]]) -> str:
    def cell(value: str | float) -> str:
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
        return f"<c><v>{value}</v></c>"

    return "".join(
        ["<sheetData>", *(f"<row>{''.join(map(cell, r))}</row>" for r in rows), "</sheetData>"]
    )


def presentation() -> bytes:
    namespaces = (
        'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
        'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
        f'xmlns:r="{_LINKS}"'
    )

    def shape(kind: str, *paragraphs: str) -> str:
        text = "".join(f"<a:p><a:r><a:t>{p}</a:t></a:r></a:p>" for p in paragraphs)
        return (
            f'<p:sp><p:nvSpPr><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr>'
            f"<p:txBody>{text}</p:txBody></p:sp>"
        )

    def slide(*shapes: str) -> str:
        tree = "".join(shapes)
        return f"<p:sld {namespaces}><p:cSld><p:spTree>{tree}</p:spTree></p:cSld></p:sld>"

    def cell(text: str) -> str:
        return f"<a:tc><a:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></a:txBody></a:tc>"

    rows = (["Quarter", "Sales"], ["Q1", "120"])
    cells = "".join(f"<a:tr>{''.join(map(cell, row))}</a:tr>" for row in rows)
    table = (
        f"<p:graphicFrame><a:graphic><a:graphicData><a:tbl>{cells}</a:tbl></a:graphicData>"
        "</a:graphic></p:graphicFrame>"
    )
    return zipped(
        {
            "[Content_Types].xml": "<Types/>",
            "ppt/presentation.xml": f'<p:presentation {namespaces}><p:sldIdLst><p:sldId r:id="r2"/>'
            '<p:sldId r:id="r1"/></p:sldIdLst></p:presentation>',
            "ppt/_rels/presentation.xml.rels": relations(
                ("r1", "slides/slide1.xml", "slide"), ("r2", "slides/slide2.xml", "slide")
            ),
            "ppt/slides/slide1.xml": slide(shape("body", "Second to be shown"), table),
            "ppt/slides/slide2.xml": slide(
                shape("body", "We grew.", "A lot."), shape("ctrTitle", "Annual review")
            ),
            "ppt/slides/_rels/slide2.xml.rels": relations(
                ("r1", "../notesSlides/notes1.xml", "notesSlide")
            ),
            "ppt/notesSlides/notes1.xml": slide(
                shape("sldNum", "1"), shape("body", "Thank the team.")
            ),
            "docProps/core.xml": _CORE.format(title="Review"),
        }
    )


def open_document() -> bytes:
    office = "urn:oasis:names:tc:opendocument:xmlns:"
    content = (
        f'<office:document-content xmlns:office="{office}office:1.0" xmlns:text="{office}text:1.0" '
        f'xmlns:table="{office}table:1.0" xmlns:xlink="http://www.w3.org/1999/xlink">'
        "<office:body><office:text>"
        '<text:h text:outline-level="1">Travel</text:h>'
        '<text:p>Book<text:s text:c="2"/>early, see <text:a xlink:href="https://example.org/t">the '
        "rules</text:a>.<text:line-break/>Always.</text:p>"
        "<text:list><text:list-item><text:p>Train first</text:p><text:list><text:list-item>"
        "<text:p>Second class</text:p></text:list-item></text:list></text:list-item></text:list>"
        "<table:table><table:table-row><table:table-cell><text:p>City</text:p></table:table-cell>"
        "<table:table-cell><text:p>Rate</text:p></table:table-cell></table:table-row>"
        "<table:table-row><table:table-cell><text:p>Graz</text:p></table:table-cell>"
        "<table:table-cell><text:p>90</text:p></table:table-cell></table:table-row></table:table>"
        "</office:text></office:body></office:document-content>"
    )
    meta = (
        f'<office:document-meta xmlns:office="{office}office:1.0" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><office:meta><dc:title>Travel rules</dc:title>'
        "<dc:language>en-GB</dc:language></office:meta></office:document-meta>"
    )
    kind = "application/vnd.oasis.opendocument.text"
    return zipped(
        {"mimetype": kind, "content.xml": content, "meta.xml": meta}, stored=("mimetype",)
    )


def book() -> bytes:
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf"><metadata '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Fox</dc:title>'
        "<dc:creator>A. Writer</dc:creator><dc:language>en</dc:language></metadata><manifest>"
        '<item id="b" href="text/two.xhtml"/><item id="a" href="text/one%20a.xhtml"/>'
        '</manifest><spine><itemref idref="a"/><itemref idref="b"/></spine></package>'
    )
    page = (
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml">'
        "<head><title>x</title></head><body>{}</body></html>"
    )
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:'
            'container"><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>',
            "OPS/book.opf": package,
            "OPS/text/one a.xhtml": page.format("<h1>Chapter 1</h1><p>The fox sleeps.</p>"),
            "OPS/text/two.xhtml": page.format("<h1>Chapter 2</h1><p>The fox wakes.</p>"),
        },
        stored=("mimetype",),
    )


# A form that draws itself twice: pdfium follows it until the end of days.
HANGING_PDF = pdf_of(
    {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: b"<</Type/Pages/Count 1/Kids[5 0 R]>>",
        5: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Resources<</XObject<</X 7 0 R>>>>"
        b"/Contents 6 0 R>>",
        6: stream(b"/X Do"),
        7: stream(
            b"/X Do /X Do",
            b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 7 0 R>>>>",
        ),
    }
)
