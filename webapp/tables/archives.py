"""Reads zip files of any size in little memory: their list one entry at a time, and each file in pieces.

Python's zipfile makes an object of every entry before anybody can count them. Whoever packs a zip decides what stands
in it, so each number of it is checked before it is used, and what a file unpacks to is counted while it unpacks.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from webapp.registry.zips import Damaged, Unsupported

STORED, DEFLATED = 0, 8
PIECE = 2**16
END = struct.Struct("<4s4H2IH")  # of the directory: its last record
END_64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR_64 = struct.Struct("<4sIQI")
ENTRY = struct.Struct("<4s6H3I5H2I")
HEAD = struct.Struct("<4s5H3I2H")  # before the bytes of a file
MAX_COMMENT = 2**16
ALL_ONES = 0xFFFFFFFF  # stands for a number that does not fit
ZIP64_EXTRA = 1
ENCRYPTED = 0x1 | 0x40 | 0x2000
UTF8 = 0x800
UNIX = 3  # made on


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a zip, as the directory has it. offset: where its head begins; packed, size: bytes there and unpacked;
    mode: of Unix, 0 where it is not known.
    """

    name: str
    offset: int
    packed: int
    size: int
    method: int
    crc: int
    encrypted: bool = False
    mode: int = 0

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")


def is_zip(start: bytes) -> bool:
    """Whether a file that begins so is a zip; an empty one, too."""
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"))


def members(file: IO[bytes]) -> Iterator[Member]:
    """Each entry of the zip's directory, in its order. Raises Damaged."""
    start, size, shift = _directory(file)
    at, end = start, start + size
    while at < end:
        file.seek(at)  # whoever takes the members may read them in between
        record = file.read(ENTRY.size)
        if len(record) < ENTRY.size or not record.startswith(b"PK\x01\x02"):
            raise Damaged("its list of files cannot be read")
        (
            _,
            made,
            _,
            flags,
            method,
            _,
            _,
            crc,
            packed,
            unpacked,
            for_name,
            for_extra,
            for_comment,
            _,
            _,
            attributes,
            offset,
        ) = ENTRY.unpack(record)
        rest = file.read(for_name + for_extra)
        if len(rest) < for_name + for_extra:
            raise Damaged("its list of files breaks off")
        unpacked, packed, offset = _large(rest[for_name:], unpacked, packed, offset)
        if offset + shift + HEAD.size + packed > start:
            raise Damaged("a file in it lies beyond its end; it may be cut off")
        yield Member(
            name=_name(rest[:for_name], flags),
            offset=offset + shift,
            packed=packed,
            size=unpacked,
            method=method,
            crc=crc,
            encrypted=bool(flags & ENCRYPTED),
            mode=attributes >> 16 if made >> 8 == UNIX else 0,
        )
        at += ENTRY.size + for_name + for_extra + for_comment


def pieces(file: IO[bytes], member: Member) -> Iterator[bytes]:
    """The file's bytes, unpacked; never more than its size says. Raises Damaged, if only at their end."""
    if member.encrypted:
        raise Unsupported("it is encrypted")
    if member.method not in {STORED, DEFLATED}:
        raise Unsupported(f"it is packed by method {member.method}")
    file.seek(member.offset)
    head = file.read(HEAD.size)
    if len(head) < HEAD.size or not head.startswith(b"PK\x03\x04"):
        raise Damaged("there is no file where its list says")
    *_, for_name, for_extra = HEAD.unpack(head)
    at = member.offset + HEAD.size + for_name + for_extra
    left, unpacked, crc = member.packed, 0, 0
    inflater = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == DEFLATED else None
    packed = b""
    while unpacked < member.size:
        if not packed and left:
            file.seek(at)
            packed = file.read(min(PIECE, left))
            if not packed:
                raise Damaged("it is cut off")
            at, left = at + len(packed), left - len(packed)
        piece, packed = _inflated(inflater, packed, member.size - unpacked + 1) if inflater else (packed, b"")
        if not piece and not packed and (not left or (inflater and inflater.eof)):
            break
        unpacked += len(piece)
        if unpacked > member.size:
            break
        crc = zlib.crc32(piece, crc)
        if piece:
            yield piece
    if unpacked != member.size or crc != member.crc:
        raise Damaged("its checksum is wrong")


def content(file: IO[bytes], member: Member) -> bytes:
    """All of it at once; the caller has looked at its size. Raises Damaged."""
    return b"".join(pieces(file, member))


def _inflated(inflater: Any, packed: bytes, most: int) -> tuple[bytes, bytes]:
    """The next bytes, not many at once, and what of the packed ones is left."""
    try:
        piece = inflater.decompress(packed, min(most, PIECE))
    except zlib.error as error:
        raise Damaged(str(error)) from error
    return piece, inflater.unconsumed_tail


def _directory(file: IO[bytes]) -> tuple[int, int, int]:
    """Where the directory begins, its bytes, and by how much everything lies later than it says."""
    length = file.seek(0, 2)
    file.seek(max(0, length - END.size - MAX_COMMENT))
    tail = file.read()
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < END.size:
        raise Damaged("its end is missing; it was cut off while it was packed or sent")
    _, disk, first_disk, _, _, size, offset, _ = END.unpack_from(tail, found)
    end = length - len(tail) + found
    end, size, offset, disk, first_disk = _directory_64(file, end, (size, offset, disk, first_disk))
    if disk or first_disk:
        raise Unsupported("it is one of several parts")
    start = end - size
    shift = start - offset
    if start < 0 or shift < 0:
        raise Damaged("its list of files is not where it says")
    return start, size, shift


def _directory_64(file: IO[bytes], end: int, old: tuple[int, int, int, int]) -> tuple[int, int, int, int, int]:
    """The same out of the records for large files; what the small one says where there are none."""
    file.seek(max(0, end - LOCATOR_64.size))
    locator = file.read(LOCATOR_64.size)
    if end < LOCATOR_64.size or not locator.startswith(b"PK\x06\x07"):
        return (end, *old)
    _, _, at, parts = LOCATOR_64.unpack(locator)
    if parts > 1:
        raise Unsupported("it is one of several parts")
    # Where it says, or right before the locator: something may have been put in front of the zip.
    for place in (at, end - LOCATOR_64.size - END_64.size):
        if not 0 <= place < end:
            continue
        file.seek(place)
        record = file.read(END_64.size)
        if len(record) == END_64.size and record.startswith(b"PK\x06\x06"):
            _, _, _, _, disk, first_disk, _, _, size, offset = END_64.unpack(record)
            return place, size, offset, disk, first_disk
    raise Damaged("its list of files is not where it says")


def _large(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Size, packed size and offset; those that do not fit stand in the extra field for large files."""
    if ALL_ONES not in {size, packed, offset}:
        return size, packed, offset
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == ZIP64_EXTRA:
            field = extra[at + 4 : at + 4 + length]
            values = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
            try:
                size, packed, offset = (
                    next(values) if value == ALL_ONES else value for value in (size, packed, offset)
                )
            except RuntimeError as error:  # a StopIteration within
                raise Damaged("its list of files cannot be read") from error
            return size, packed, offset
        at += 4 + length
    return size, packed, offset


def _name(raw: bytes, flags: int) -> str:
    """In UTF-8 where it is, for some say so and some do not; else in the first code that zips had."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace") if flags & UTF8 else raw.decode("cp437")
