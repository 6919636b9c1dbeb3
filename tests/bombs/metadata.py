"""What a picture brings along: EXIF, XMP, a profile of its colours. Damage there is no reason to refuse it."""

import struct
import zlib

from tests import pictures
from tests.bombs.jpeg import jpeg, segment
from tests.bombs.making import KEPT, MiB, add, bomb
from tests.bombs.png import png
from tests.bombs.webp import riff_chunk, webp
from tests.pictures import chunk


def exif(block: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + block)


def ifd(*entries: bytes, following: int = 0) -> bytes:
    return (
        b"MM\0*\0\0\0\x08"
        + struct.pack(">H", len(entries))
        + b"".join(entries)
        + struct.pack(">I", following)
    )


def entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack(">HHII", tag, kind, count, value)


EXIF_BOMBS = {
    "whose next directory is itself": ifd(entry(0x8769, 4, 1, 8), following=8),
    "whose sub-directories are itself": ifd(
        *[entry(tag, 4, 1, 8) for tag in (0x8769, 0x8825, 0xA005, 0x014A)]
    ),
    "of four billion values": ifd(*[entry(tag, 5, 2**32 - 1, 0) for tag in (0x0112, 0x011A)]),
    "whose values lie beyond its end": ifd(entry(0x0112, 3, 1000, 2**31)),
    "of 65535 entries": b"MM\0*\0\0\0\x08\xff\xff" + bytes(60_000),
    "whose resolution is divided by zero": ifd(entry(0x011A, 5, 1, 26)) + bytes(8),
    "of an orientation that is none": ifd(entry(0x0112, 4, 1, 2**32 - 1)),
    "of an orientation that is a text": ifd(entry(0x0112, 2, 4, 0x36363600)),
    "of an orientation that is not a number": ifd(entry(0x0112, 11, 1, 0x7FC00000)),
    "of an orientation that is infinite": ifd(entry(0x0112, 11, 1, 0x7F800000)),
    "that is a BigTIFF": b"MM\0+\0\x08\0\0" + b"\xff" * 64,
    "of one byte": b"M",
    "of nothing": b"",
}
for name, block in EXIF_BOMBS.items():
    add(f"JPEG with EXIF {name}", jpeg, exif(block))
    add(f"PNG with EXIF {name}", png, chunk(b"eXIf", block))
    add(f"WebP with EXIF {name}", webp, riff_chunk(b"EXIF", block))


@bomb(KEPT)
def jpeg_of_100_exif_segments() -> bytes:
    return jpeg(exif(ifd() + bytes(60_000)) * 100)


@bomb(KEPT)
def png_with_a_hex_of_exif_that_is_none() -> bytes:
    return png(chunk(b"tEXt", b"Raw profile type exif\0" + b"\nexif\n8\n" + b"zz" * 50_000))


@bomb(KEPT)
def png_with_a_megabyte_of_xmp() -> bytes:
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + b"tiff:Orientation" * 60_000
    return png(chunk(b"iTXt", text))


@bomb(KEPT)
def png_with_xmp_of_a_billion_laughs() -> bytes:
    laughs = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))
    text = b"XML:com.adobe.xmp\0\0\0\0\0<!DOCTYPE x [" + laughs + b"]><x>&l9;</x>"
    return png(chunk(b"iTXt", text))


def icc(body: bytes) -> list[bytes]:
    """The segments that hold a profile."""
    pieces = [body[at : at + 65_000] for at in range(0, len(body), 65_000)]
    return [
        segment(0xE2, b"ICC_PROFILE\0" + bytes([number % 256, len(pieces) % 256]) + piece)
        for number, piece in enumerate(pieces, 1)
    ]


def profile(*tags: tuple[bytes, bytes], claims: int | None = None) -> bytes:
    """An ICC profile of these tags, that may claim to have more."""
    at = 132 + 12 * len(tags)
    table, bodies = b"", b""
    for name, body in tags:
        table += name + struct.pack(">II", at + len(bodies), len(body))
        bodies += body
    count = struct.pack(">I", len(tags) if claims is None else claims)
    header = (
        bytes(4)
        + b"lcms\x04\x30\0\0mntrRGB XYZ "
        + bytes(12)
        + b"acsp"
        + bytes(28)
        + bytes.fromhex("0000f6d6000100000000d32d")
        + bytes(48)
    )
    whole = header + count + table + bodies
    return struct.pack(">I", len(whole)) + whole[4:]


ICC_BOMBS = {
    "of four billion tags": profile(claims=2**32 - 1),
    "of a curve of four billion points": profile(
        *[(name, b"curv\0\0\0\0\xff\xff\xff\xff") for name in (b"rTRC", b"gTRC", b"bTRC")],
        *[(name, b"XYZ \0\0\0\0" + bytes(12)) for name in (b"rXYZ", b"gXYZ", b"bXYZ")],
    ),
    "of a table of 255 to the third": profile(
        (b"A2B0", b"mft2\0\0\0\0\3\3\xff\0" + bytes(36) + b"\0\2\0\2" + bytes(2000))
    ),
    "of a thousand elements": profile(
        (b"A2B0", b"mpet\0\0\0\0\0\3\0\3\0\0\3\xe8" + struct.pack(">II", 16, 64) * 1000 + bytes(64))
    ),
    "that claims to be longer": b"\x7f\xff\xff\xff" + pictures.swapped_profile()[4:],
    "of a megabyte": pictures.swapped_profile() + bytes(MiB - 1000),
}
for name, body in ICC_BOMBS.items():
    add(f"JPEG with a profile {name}", jpeg, *icc(body))
    add(f"PNG with a profile {name}", png, chunk(b"iCCP", b"a\0\0" + zlib.compress(body)))
