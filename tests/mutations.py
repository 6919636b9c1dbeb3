"""Good files made bad: their pieces lost, doubled, swapped, exchanged, their bytes and lengths changed."""

import re
import struct
import zlib
from collections.abc import Callable
from functools import cache
from random import Random

from PIL import ExifTags, Image

from tests import pictures
from tests.test_imaging import GOOD

BOUNDARIES = {
    b"\xff\xd8": rb"(?=\xff[\xc0-\xfe])",
    b"\x89P": rb"(?=....(?:IHDR|PLTE|tRNS|IDAT|IEND|acTL|fcTL|fdAT|eXIf|iCCP|tEXt|iTXt|zTXt))",
    b"RI": rb"(?=VP8[ LX]|ANIM|ANMF|ALPH|EXIF|ICCP|XMP )",
    b"GI": rb"(?=[!,;])",
    b"\0\0": rb"(?=....(?:ftyp|meta|hdlr|pitm|iloc|iinf|infe|iref|auxl|iprp|ipco|ispe|pixi|av1C|"
    rb"colr|auxC|irot|imir|ipma|mdat|moov|trak|mdia|minf|stbl|stts|stsc|stsz|stco|Exif))",
}
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


@cache
def good() -> list[bytes]:
    """Of every format, plain, moving, and with all that a picture may bring along."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.XResolution] = 72.0
    along = {
        "exif": exif,
        "icc_profile": pictures.swapped_profile(),
        "xmp": b"<x tiff:Orientation='3'/>",
    }
    clear = pictures.photo(64, 48, mode="RGBA")
    few = pictures.photo(64, 48).quantize(8)
    cmyk = pictures.photo(64, 48).convert("CMYK")
    return [
        *GOOD.values(),
        *[pictures.encoded(clear, format, **along) for format in ("PNG", "WEBP", "AVIF")],
        pictures.encoded(pictures.photo(64, 48), "JPEG", restart_marker_blocks=2, **along),
        pictures.encoded(cmyk, "JPEG", progressive=True),
        pictures.encoded(few, "PNG", transparency=b"\0\x80", bits=4),
        pictures.encoded(few, "GIF", transparency=2, comment=b"a;b,c!"),
        pictures.encoded(Image.new("I;16", (64, 48), 3000), "PNG", transparency=3000),
        pictures.encoded(pictures.photo(64, 48, mode="L"), "JPEG"),
    ]


def mutated(random: Random) -> bytes:
    """One of the good files after one to four changes. Of two, its checksums and lengths are right again."""
    body = random.choice(good())
    boundary = BOUNDARIES[body[:2]]
    for _ in range(random.randint(1, 4)):
        pieces = re.split(boundary, body, flags=re.DOTALL)
        random.choice(CHANGES)(pieces, random)
        body = b"".join(pieces)
    return random.choice((bytes, with_checksums, with_length))(body)


def lose(pieces: list[bytes], random: Random) -> None:
    del pieces[random.randrange(len(pieces))]


def double(pieces: list[bytes], random: Random) -> None:
    at = random.randrange(len(pieces))
    pieces[at:at] = [pieces[at]] * random.choice((1, 2, 30))


def swap(pieces: list[bytes], random: Random) -> None:
    a, b = random.randrange(len(pieces)), random.randrange(len(pieces))
    pieces[a], pieces[b] = pieces[b], pieces[a]


def exchange(pieces: list[bytes], random: Random) -> None:
    """Put in a piece of another file of the same format, or of any."""
    other = random.choice(good())
    theirs = re.split(BOUNDARIES[other[:2]], other, flags=re.DOTALL)
    pieces[random.randrange(len(pieces))] = random.choice(theirs)


def cut(pieces: list[bytes], random: Random) -> None:
    at = random.randrange(len(pieces))
    pieces[at] = pieces[at][: random.randint(0, len(pieces[at]))]


def flip(pieces: list[bytes], random: Random) -> None:
    at = random.randrange(len(pieces))
    piece = bytearray(pieces[at])
    for _ in range(random.randint(1, 8) if piece else 0):
        piece[int(random.random() ** 2 * len(piece))] ^= 1 << random.randrange(8)
    pieces[at] = bytes(piece)


def overwrite(pieces: list[bytes], random: Random) -> None:
    """Put a number that hurts where a length, a size or a count may be."""
    at = random.randrange(len(pieces))
    piece = bytearray(pieces[at])
    width, order = random.choice((1, 2, 4)), random.choice(("little", "big"))
    number = random.choice(EXTREMES) & (256**width - 1)
    start = random.randrange(min(len(piece), 40) + 1)
    piece[start : start + width] = (
        number.to_bytes(width, "big") if order == "big" else number.to_bytes(width, "little")
    )
    pieces[at] = bytes(piece)


Change = Callable[[list[bytes], Random], None]
CHANGES: tuple[Change, ...] = (lose, double, swap, exchange, cut, flip, flip, overwrite, overwrite)


def with_checksums(body: bytes) -> bytes:
    """Of a PNG, each chunk's; else a decoder sees no more than the first that is wrong."""
    repaired, position = bytearray(body), 8
    while body[:2] == b"\x89P" and position + 12 <= len(body):
        end = position + 8 + int.from_bytes(body[position : position + 4])
        repaired[end : end + 4] = struct.pack(">I", zlib.crc32(body[position + 4 : end]))
        position = end + 4
    return bytes(repaired[: len(body)])


def with_length(body: bytes) -> bytes:
    """Of a WebP."""
    if body[:2] != b"RI":
        return body
    return body[:4] + struct.pack("<I", max(0, len(body) - 8)) + body[8:]
