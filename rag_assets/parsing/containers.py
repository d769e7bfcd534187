"""Zip containers and the XML in them, opened without believing what they say of themselves."""

import io
import zipfile
from typing import TYPE_CHECKING

from rag_assets.parsing.base import Scalar, Unparseable

if TYPE_CHECKING:
    from lxml.etree import _Element

# A container that unpacks to more, or a member above a megabyte packed tighter, is a bomb: the
# densest real sheets (repeated rows) pack 100 : 1, deflate's limit is 1,032 : 1.
LARGEST = 512 << 20
_TIGHTEST = 250
# What opening a zip file may raise; a RuntimeError where it needs what zipfile cannot do.
BROKEN_ZIP = (zipfile.BadZipFile, OSError, ValueError, RuntimeError)

_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
_DUBLIN_TERMS = "{http://purl.org/dc/terms/}"


class Container:
    """The members of a zip container, read one at a time.

    Raises: Unparseable damaged, encrypted or too_large.
    """

    def __init__(self, data: bytes) -> None:
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        except BROKEN_ZIP as error:
            raise Unparseable("damaged", f"its zip container is broken: {error}") from error
        self.members = {info.filename: info for info in self._archive.infolist()}
        check_sizes(list(self.members.values()))

    def read(self, name: str) -> bytes:
        """The bytes of a member; none for one that is missing."""
        info = self.members.get(name)
        return read_member(self._archive, info) if info else b""

    def xml(self, name: str) -> "_Element | None":
        """The root element of an XML member, None for one that is missing or empty."""
        data = self.read(name)
        return xml_root(data) if data.strip() else None


def check_sizes(members: list[zipfile.ZipInfo]) -> None:
    """Refuse zip bombs by what the directory declares. Raises: Unparseable too_large."""
    total = sum(member.file_size for member in members)
    if total > LARGEST:
        raise Unparseable("too_large", f"it unpacks to {total >> 20} MiB, the limit is 512 MiB")
    for member in members:
        packed = max(member.compress_size, 1)
        if member.file_size > 1 << 20 and member.file_size / packed > _TIGHTEST:
            ratio = member.file_size // packed
            raise Unparseable("too_large", f"{member.filename!r} in it unpacks {ratio}-fold")


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The bytes of a member, never more than it declares. Raises: Unparseable."""
    if info.flag_bits & 1:
        raise Unparseable("encrypted", "it needs a password; save it without one")
    try:
        with archive.open(info) as file:
            return file.read(info.file_size + 1)
    except Exception as error:  # also zlib.error, lzma.LZMAError and the like
        raise Unparseable("damaged", f"{info.filename!r} in it is broken: {error}") from error


def xml_root(data: bytes) -> "_Element":
    """The root of an XML document; entities are not expanded and nothing is fetched.

    Raises: Unparseable damaged.
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=True,
        remove_comments=True,
        remove_pis=True,
        recover=False,
    )
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        said = str(error)
        if "amplification" in said:
            raise Unparseable("too_large", "its entities expand without end") from error
        if "depth" in said:
            raise Unparseable("too_deep", "its elements are nested too deeply") from error
        raise Unparseable("damaged", f"its XML is broken: {said}") from error


def core_properties(root: "_Element | None") -> dict[str, Scalar]:
    """Title, author, dates and language from Dublin Core elements, wherever they are below root."""
    if root is None:
        return {}
    found: dict[str, Scalar] = {}
    for key, tag in (
        ("title", _DUBLIN_CORE + "title"),
        ("author", _DUBLIN_CORE + "creator"),
        ("subject", _DUBLIN_CORE + "subject"),
        ("description", _DUBLIN_CORE + "description"),
        ("language", _DUBLIN_CORE + "language"),
        ("published", _DUBLIN_CORE + "date"),
        ("created", _DUBLIN_TERMS + "created"),
        ("modified", _DUBLIN_TERMS + "modified"),
    ):
        values = [element.text.strip() for element in root.iter(tag) if element.text]
        if values:
            found[key] = ", ".join(values) if key == "author" else values[0]
    return found
