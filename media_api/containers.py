"""What a picture's container says before a decoder runs: canvas, frames, scans, and if it is whole.

A decoder allocates what the first asks for and works as long as the next two ask, so they are read
here, in one walk over the bytes that decompresses nothing. Pure functions, one for each format,
from bytes that begin like it to an `Outline`; at damage they stop, and never raise.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Outline:
    """Canvas in pixels (0 x 0: only the decoder knows), frames, scans and colours of a JPEG.

    `whole` is False when the walk ended early, or found the image data damaged.
    """

    width: int = 0
    height: int = 0
    frames: int = 1
    scans: int = 1
    colours: int = 0
    whole: bool = True


START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
STANDALONE, END_OF_IMAGE, START_OF_SCAN = frozenset({0x01, 0xD8}), 0xD9, 0xDA
# ITU T.81, B.1.1: FF 00 is a stuffed byte, FF FF padding, and D0 to D7 are restarts inside a scan.
JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def jpeg(data: bytes) -> Outline:
    """Count the scans of the first image; what a phone appends to it is not looked at.

    `whole` speaks of the header only: a decoder notices by itself when a scan is cut.
    """
    width = height = scans = colours = 0
    for marker, start, end in jpeg_segments(data):
        if marker in START_OF_FRAME and min(end, len(data)) - start >= 10:
            height, width, colours = struct.unpack_from(">HHB", data, start + 5)
        scans += marker == START_OF_SCAN
    return Outline(width, height, scans=scans, colours=colours, whole=scans > 0)


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each marker, where it begins and where its segment ends, up to the end of the image.

    Junk between them is skipped, as libjpeg does. The last may claim to reach further than there are bytes.
    """
    position = 2
    while found := JPEG_MARKER.search(data, position):
        marker, position = data[found.end() - 1], found.end()
        if marker == END_OF_IMAGE:
            yield marker, found.start(), position
            return
        if marker in STANDALONE:
            continue
        position += int.from_bytes(data[position : position + 2])
        yield marker, found.start(), position


# The chunks that make up the pictures, as letters, so that their order is one pattern. In an APNG
# an fcTL opens each frame, and the default image may be the first of them (PNG, 3rd edition, 4.9).
PNG_LETTERS = {b"IDAT": "I", b"fcTL": "c", b"fdAT": "d", b"IEND": "E"}
APNG_ORDER = re.compile(r"c?I+(cd+)*E")


def png(data: bytes) -> Outline:
    """Check the sums of the image data, and that an animation's frames are all there, in order.

    Pillow does neither; the chunks before the image data are left to it, which does check those.
    """
    width, height = struct.unpack_from(">II", data.ljust(24, b"\0"), 16)
    order, sequence, announced, view = "", [], 0, memoryview(data)
    for name, start, end in png_chunks(data):
        body, checksum = view[start + 8 : end - 4], int.from_bytes(view[end - 4 : end])
        if name in (b"IDAT", b"fdAT") and zlib.crc32(body, zlib.crc32(name)) != checksum:
            break
        if name == b"acTL" and not order:
            announced = int.from_bytes(body[:4])
        if name in (b"fcTL", b"fdAT"):
            sequence.append(int.from_bytes(body[:4]))
        order += PNG_LETTERS.get(name, "")
    if not announced:
        return Outline(width, height, whole="I" in order and order.endswith("E"))
    frames = order.count("c")
    in_order = APNG_ORDER.fullmatch(order) and sequence == list(range(len(sequence)))
    return Outline(width, height, frames, whole=bool(in_order) and frames >= announced)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk, where it begins and ends, up to IEND or up to one that is cut."""
    position, name = 8, b""
    while name != b"IEND" and position + 12 <= len(data):
        size, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + size
        if end > len(data):
            return
        yield name, position, end
        position = end


GIF_EXTENSION, GIF_IMAGE, GIF_TRAILER = b"!,;"


def gif(data: bytes) -> Outline:
    """Count the frames; the canvas is the screen, grown as Pillow does where one reaches beyond."""
    width = height = frames = 0
    try:
        width, height = struct.unpack_from("<HH", data, 6)
        for block, start in gif_blocks(data):
            if block == GIF_IMAGE:
                left, top, wide, high = struct.unpack_from("<HHHH", data, start + 1)
                width, height = max(width, left + wide), max(height, top + high)
                frames += 1
    except (IndexError, struct.error):
        return Outline(width, height, frames, whole=False)
    return Outline(width, height, frames)


def gif_blocks(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield what each block is and where it begins, which is where the one before ends; the trailer last.

    Raises IndexError where the file is cut.
    """
    block, position = 0, 13 + _gif_palette_size(data[10])
    while block != GIF_TRAILER:
        block = data[position]
        yield block, position
        if block == GIF_EXTENSION:
            position = _after_gif_blocks(data, position + 2)
        elif block == GIF_IMAGE:
            palette = _gif_palette_size(data[position + 9])
            position = _after_gif_blocks(data, position + 11 + palette)
        else:  # junk
            position += 1


def _gif_palette_size(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_gif_blocks(data: bytes, position: int) -> int:
    while size := data[position]:
        position += size + 1
    return position + 1


def webp(data: bytes) -> Outline:
    """Read the canvas, count the frames; cut when RIFF announces more bytes than there are."""
    end = 8 + int.from_bytes(data[4:8], "little")
    frames = sum(name == b"ANMF" for name, _, _ in webp_chunks(data, 12, min(end, len(data))))
    width, height = _webp_canvas(data[12:30].ljust(18, b"\0"))
    return Outline(width, height, max(frames, 1), whole=end <= len(data))


def webp_chunks(data: bytes, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk, where it begins and ends (with its padding), from `position` up to `end`."""
    while position + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, position)
        start, position = position, position + 8 + size + size % 2
        yield name, start, min(position, end)


def _webp_canvas(chunk: bytes) -> tuple[int, int]:
    """RFC 9649: the canvas of VP8X, or the size of the one frame (VP8 lossy, VP8L lossless)."""
    if chunk.startswith(b"VP8X"):
        return int.from_bytes(chunk[12:15], "little") + 1, int.from_bytes(
            chunk[15:18], "little"
        ) + 1
    if chunk.startswith(b"VP8L"):
        bits = int.from_bytes(chunk[9:13], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk.startswith(b"VP8 "):
        width, height = struct.unpack_from("<HH", chunk, 14)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


AVIF_BOXES = (b"ftyp", b"meta", b"moov", b"moof", b"mdat")
AVIF_SIZE = re.compile(rb"ispe\0{4}(.{8})", re.DOTALL)  # ISO/IEC 23008-12, 6.5.3


def avif(data: bytes) -> Outline:
    """The canvas is the largest that an item claims; frames libavif counts without decoding.

    Whole when no box of the picture reaches beyond the end.
    """
    canvas = 0, 0
    for name, start, _, end in avif_boxes(data, 0, len(data)):
        if end > len(data):
            return Outline(*canvas, whole=name not in AVIF_BOXES)
        if name == b"meta":
            claims = AVIF_SIZE.finditer(data, start, end)
            sizes = (struct.unpack(">II", claim[1]) for claim in claims)
            canvas = max(canvas, max(sizes, key=prod, default=canvas), key=prod)
    return Outline(*canvas)


def avif_boxes(data: bytes, position: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield the name of each box, where it, its content and what follows it begin, from `position` up to `end`.

    The last may claim to reach further (ISO/IEC 14496-12, 4.2).
    """
    while position + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, position)
        start, content = position, position + 8
        if size == 1:  # the size follows in 64 bits
            size, content = int.from_bytes(data[content : content + 8]), content + 8
        elif size == 0:  # up to the end
            size = end - start
        position = start + size
        if position < content:
            return
        yield name, start, content, position
