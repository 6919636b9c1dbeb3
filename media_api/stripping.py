"""The same picture without metadata, as cuts: what is left out of its file, and the little that stands there instead.

Lossless. Kept is, by name, what a decoder needs to show the same colours at the same size, colour profiles
included; everything else goes, known or unknown, with what follows the picture. Where a picture is turned
by its EXIF block, one that says nothing else takes its place.

Pure, for the sandboxed child that found the picture good: it says where to cut, and whoever has the
file does (`write`). One function for each format, from its bytes and its orientation; AVIF has
`stripping_avif`.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from . import containers

MAX_CUTS = 5000  # a GIF of 500 frames with a comment at each has 500
MAX_NEW = 128  # bytes in one
CHUNK = 256 * 1024


@dataclass(frozen=True)
class Cut:
    """Bytes from `start` up to `end` are left out; `new` stands there instead, then so many zero bytes."""

    start: int
    end: int
    new: bytes = b""
    zeros: int = 0


def write(cuts: Iterable[Cut], original: BinaryIO, copy: BinaryIO) -> None:
    """Write the original with these cuts, in constant memory. They stand in order and do not overlap."""
    position = 0
    for cut in cuts:
        _copy(original, position, cut.start, copy)
        copy.write(cut.new)
        for written in range(0, cut.zeros, CHUNK):
            copy.write(bytes(min(CHUNK, cut.zeros - written)))
        position = cut.end
    _copy(original, position, original.seek(0, 2), copy)


def _copy(original: BinaryIO, position: int, end: int, copy: BinaryIO) -> None:
    original.seek(position)
    while position < end and (piece := original.read(min(CHUNK, end - position))):
        copy.write(piece)
        position += len(piece)


def settled(data: bytes, cuts: Iterable[Cut]) -> list[Cut]:
    """Make one cut of those that touch, and leave out those that change nothing: none is left where nothing goes."""
    joined: list[Cut] = []
    for cut in cuts:
        if joined and joined[-1].end == cut.start and not joined[-1].zeros:
            last = joined.pop()
            cut = Cut(last.start, cut.end, last.new + cut.new, cut.zeros)
        joined.append(cut)
    return [cut for cut in joined if data[cut.start : cut.end] != cut.new + bytes(cut.zeros)]


def _exif(orientation: int) -> bytes:
    """A block that says how the picture is turned and nothing else; none for one that is not (Exif 2.32, 4.6.2)."""
    if not 2 <= orientation <= 8:
        return b""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


# --- JPEG

# Frames, tables, scans, the end of the image (ITU T.81, B.1). The rest is APPn, COM or reserved.
JPEG_PICTURE = {*range(0xC0, 0xD0), *range(0xD9, 0xE0)}


def jpeg(data: bytes, orientation: int) -> Iterator[Cut]:
    """Keep the picture, its profile, JFIF without its thumbnail, and Adobe's word for what the colours are."""
    exif = _exif(orientation)
    exif = exif and b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif
    position, marker, is_scan, has_jfif = 2, 0, False, False
    for marker, start, end in containers.jpeg_segments(data):
        if not is_scan:  # else it is the image data
            yield Cut(position, start)
        if end > len(data):
            position, is_scan = start, False
            break
        name = data[start + 1 : start + 2] + data[start + 4 : end]
        if name.startswith(b"\xe0JFIF\0") and end - start >= 18 and not has_jfif:
            yield from _shortened(start, end, 18, b"\0\0")
            has_jfif = True
        else:
            yield Cut(start, start, exif)
            exif = b""
            if name.startswith(b"\xeeAdobe") and end - start >= 16:
                yield from _shortened(start, end, 16)
            elif marker not in JPEG_PICTURE and not name.startswith(b"\xe2ICC_PROFILE\0"):
                yield Cut(start, end)
        position, is_scan = end, marker == containers.START_OF_SCAN
    # Where damage hides the end of the image from a decoder, it took the picture without.
    missing = b"" if marker == containers.END_OF_IMAGE else b"\xff\xd9"
    yield Cut(len(data) if is_scan else position, len(data), missing)


def _shortened(start: int, end: int, size: int, tail: bytes = b"") -> Iterator[Cut]:
    """A segment of `size` bytes, marker and length included, with this tail."""
    yield Cut(start + 2, start + 4, struct.pack(">H", size - 2))
    yield Cut(start + size - len(tail), end, tail)


# --- PNG

# What decides how it looks (PNG, 3rd edition, 11). sPLT and hIST help who has few colours, and sPLT has a name.
PNG_PICTURE = frozenset(
    b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP cICP mDCV cLLI sBIT bKGD pHYs acTL fcTL fdAT".split()
)


def png(data: bytes, orientation: int) -> Iterator[Cut]:
    """Keep the chunks that decide how it looks."""
    exif = _exif(orientation)
    if exif:
        checksum = zlib.crc32(b"eXIf" + exif)
        exif = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", checksum)
    end = 8
    for name, start, end in containers.png_chunks(data):
        if name not in PNG_PICTURE:
            yield Cut(start, end)
        elif start == 8:  # IHDR
            yield Cut(end, end, exif)
    yield Cut(end, len(data))


# --- WebP

WEBP_PICTURE = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"}
EXIF_FLAG, XMP_FLAG = 0x08, 0x04  # RFC 9649, 2.7


def webp(data: bytes, orientation: int) -> Iterator[Cut]:
    """Keep the chunks that make up the picture, also inside frames; lengths and flags are put right."""
    exif = _exif(orientation)
    riff_end = 8 + int.from_bytes(data[4:8], "little")
    cuts = list(_webp_cuts(data, exif))
    size = riff_end - 8 - _removed(cuts)
    if exif:
        exif = bytes(size % 2) + b"EXIF" + struct.pack("<I", len(exif)) + exif
    yield Cut(4, 8, struct.pack("<I", size + len(exif)))
    yield from cuts
    yield Cut(riff_end, len(data), exif)


def _webp_cuts(data: bytes, exif: bytes) -> Iterator[Cut]:
    riff_end = end = 8 + int.from_bytes(data[4:8], "little")
    for name, start, end in containers.webp_chunks(data, 12, riff_end):
        if name not in WEBP_PICTURE:
            yield Cut(start, end)
        elif name == b"VP8X":
            flags = data[start + 8] & ~(EXIF_FLAG | XMP_FLAG) | (EXIF_FLAG if exif else 0)
            yield Cut(start + 8, start + 9, bytes([flags]))
        elif name == b"ANMF":
            yield from _webp_frame(data, start, end)
    yield Cut(end, riff_end)


def _webp_frame(data: bytes, start: int, end: int) -> Iterator[Cut]:
    """A frame has 16 bytes about itself, then chunks."""
    last, cuts = start + 24, []
    for name, chunk_start, last in containers.webp_chunks(data, start + 24, end):
        if name not in WEBP_PICTURE:
            cuts.append(Cut(chunk_start, last))
    cuts.append(Cut(last, end))
    if removed := _removed(cuts):
        yield Cut(start + 4, start + 8, struct.pack("<I", end - start - 8 - removed))
        yield from cuts


def _removed(cuts: Iterable[Cut]) -> int:
    return sum(cut.end - cut.start - len(cut.new) for cut in cuts)


# --- GIF

GIF_CONTROL, GIF_APPLICATION = 0xF9, 0xFF
GIF_APPLICATIONS = {b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012"}  # loops, and a profile


def gif(data: bytes, _: int) -> Iterator[Cut]:
    """Keep frames, what controls them, loops and the profile; comments, XMP and the like go."""
    blocks = [*containers.gif_blocks(data)]
    ends = [*(start for _, start in blocks[1:]), blocks[-1][1] + 1]
    for (block, start), end in zip(blocks, ends, strict=True):
        if not _gif_shows(data, block, start):
            yield Cut(start, end)
    yield Cut(ends[-1], len(data))


def _gif_shows(data: bytes, block: int, start: int) -> bool:
    if block != containers.GIF_EXTENSION:
        return block in (containers.GIF_IMAGE, containers.GIF_TRAILER)
    if data[start + 1] == GIF_APPLICATION:
        return data[start + 3 : start + 14] in GIF_APPLICATIONS
    return data[start + 1] == GIF_CONTROL and data[start + 2] >= 4
