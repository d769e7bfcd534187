"""A writer of OLE compound files, just enough to make an Outlook mail or an old Office file."""

import struct

_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
_SECTOR = 512

Storage = dict[str, "bytes | Storage"]


def compound(root: Storage) -> bytes:
    """An OLE file of named streams (bytes) and storages (dicts)."""
    entries: list[dict] = []
    _add(entries, "Root Entry", 5, root)
    fat: list[int] = []
    small, small_fat = b"", []
    sectors = b""
    for entry in entries:
        data = entry["data"]
        entry["size"] = len(data)
        if entry["kind"] == 2 and len(data) < 4096:
            entry["start"], small = _appended(small, small_fat, data, 64)
        elif entry["kind"] == 2:
            entry["start"], sectors = _appended(sectors, fat, data, _SECTOR)
    entries[0]["size"] = len(small)
    entries[0]["start"], sectors = _appended(sectors, fat, small, _SECTOR)
    table = b"".join(struct.pack("<I", value) for value in small_fat)
    table += b"\xff" * (-len(table) % _SECTOR)
    small_table, sectors = _appended(sectors, fat, table, _SECTOR)
    listing = b"".join(_directory_entry(entry) for entry in entries)
    directory, sectors = _appended(sectors, fat, listing, _SECTOR)
    fat_start, fat_sectors = len(fat), 1 + len(fat) // 126
    fat += [_FAT] * fat_sectors
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    numbers = (0, fat_sectors, directory, 0, 4096, small_table, len(table) // _SECTOR, _END, 0)
    places = [fat_start + i for i in range(fat_sectors)] + [_FREE] * (109 - fat_sectors)
    header += struct.pack("<118I", *numbers, *places)
    last = b"".join(struct.pack("<I", value) for value in fat)
    return header + sectors + last.ljust(fat_sectors * _SECTOR, b"\xff")


def _appended(sectors: bytes, fat: list[int], data: bytes, size: int) -> tuple[int, bytes]:
    """(number of the first sector, all sectors) with data in a chain of sectors behind the rest."""
    start, count = len(fat), max(1, -(-len(data) // size))
    fat += [*range(start + 1, start + count), _END]
    return start, sectors + data.ljust(count * size, b"\0")


def _add(entries: list[dict], name: str, kind: int, content: "bytes | Storage") -> int:
    index = len(entries)
    entry = {"name": name, "kind": kind, "start": 0, "size": 0, "child": _FREE, "right": _FREE}
    entry["data"] = content if isinstance(content, bytes) else b""
    entries.append(entry)
    if isinstance(content, dict):
        # Siblings as a chain to the right, in the order that the format wants: length, then name.
        previous = None
        for child in sorted(content, key=lambda text: (len(text), text.upper())):
            value = content[child]
            place = _add(entries, child, 1 if isinstance(value, dict) else 2, value)
            if previous is None:
                entry["child"] = place
            else:
                entries[previous]["right"] = place
            previous = place
    return index


def _directory_entry(entry: dict) -> bytes:
    name = entry["name"].encode("utf-16-le") + b"\0\0"
    return (
        name.ljust(64, b"\0")
        + struct.pack("<HBBIII", len(name), entry["kind"], 1, _FREE, entry["right"], entry["child"])
        + bytes(36)
        + struct.pack("<IQ", entry["start"], entry["size"])
    )


def outlook_mail() -> bytes:
    """A mail to one person with a text attachment."""

    def properties(count: int, **values: bytes) -> bytes:
        return bytes(count) + b"".join(values.values())

    def text(value: str) -> bytes:
        return value.encode("utf-16-le")

    def fixed(tag: int, value: int) -> bytes:
        return struct.pack("<IIQ", tag, 6, value)

    def variable(tag: int, data: bytes) -> bytes:
        return struct.pack("<IIII", tag, 6, len(data) + 2, 0)

    sent = 134_230_464_000_000_000  # 100 ns since 1601: 2026-05-12 08:00 UTC
    streams: Storage = {
        "__substg1.0_0037001F": text("Printer on floor 3"),
        "__substg1.0_1000001F": text("The toner is empty.\r\nPlease order more."),
        "__substg1.0_0C1A001F": text("Ines Ruiz"),
        "__substg1.0_5D01001F": text("ines@example.org"),
    }
    head = struct.pack("<8xIIII8x", 1, 1, 1, 1)
    listed = b"".join(variable(int(name[-8:], 16), data) for name, data in streams.items())
    streams["__properties_version1.0"] = head + listed + fixed(0x00390040, sent)
    recipient = {
        "__substg1.0_3001001F": text("Bo Lind"),
        "__substg1.0_39FE001F": text("bo@example.org"),
    }
    listed = b"".join(variable(int(name[-8:], 16), data) for name, data in recipient.items())
    streams["__recip_version1.0_#00000000"] = {
        **recipient,
        "__properties_version1.0": properties(8) + listed,
    }
    attached = {
        "__substg1.0_3707001F": text("order.csv"),
        "__substg1.0_37010102": b"item,count\r\ntoner,2\r\n",
    }
    listed = b"".join(variable(int(name[-8:], 16), data) for name, data in attached.items())
    listed += fixed(0x37050003, 1)
    streams["__attach_version1.0_#00000000"] = {
        **attached,
        "__properties_version1.0": properties(8) + listed,
    }
    return compound(streams)
