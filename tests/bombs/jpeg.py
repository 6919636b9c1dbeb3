"""Segments, scans and what they claim."""

import struct

from tests import pictures
from tests.bombs.making import HEADER, KEPT, MiB, add, bomb
from tests.pictures import encoded, photo

SOI, EOI = b"\xff\xd8", b"\xff\xd9"


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(*before: bytes, after: bytes = b"") -> bytes:
    """A good one of 64 x 48, with more segments after its first marker, and before its last."""
    body = pictures.jpeg()
    return SOI + b"".join(before) + body[2:-2] + after + EOI


def jpeg_claiming(width: int, height: int, marker: int = 0xC0) -> bytes:
    """The size in the header is another, and maybe its process."""
    body = pictures.jpeg()
    at = next(
        body.index(b"\xff" + bytes([each]))
        for each in (0xC0, 0xC2)
        if b"\xff" + bytes([each, 0, 17]) in body
    )
    return (
        body[: at + 1]
        + bytes([marker])
        + body[at + 2 : at + 5]
        + struct.pack(">HH", height, width)
        + body[at + 9 :]
    )


for width, height in (65_535, 65_535), (65_500, 4000):
    add(
        f"JPEG of {width} x {height}",
        jpeg_claiming,
        width,
        height,
        expected="too_many_pixels",
        shown_by=HEADER,
    )
for width, height in (0, 48), (64, 0), (0, 0):
    add(f"JPEG of {width} x {height}", jpeg_claiming, width, height, expected="not_an_image")
for width, height in (65_535, 1), (1, 65_535):
    add(
        f"JPEG of {width} x {height} with data for less",
        jpeg_claiming,
        width,
        height,
        expected="truncated",
    )
add("JPEG of 210 million pixels with data for less", jpeg_claiming, 15_000, 14_000)
for name, marker, expected in (
    ("lossless", 0xC3, "truncated"),
    ("hierarchical", 0xC5, "truncated"),
    ("arithmetic", 0xC9, KEPT),
    ("of an unknown process", 0xC8, "not_an_image"),
):
    add(f"JPEG {name} in name", jpeg_claiming, 64, 48, marker, expected=expected)


@bomb("not_an_image")
def jpeg_of_12_bits() -> bytes:
    return pictures.jpeg().replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c")


@bomb("too_complex", HEADER)
def jpeg_of_20_000_scans() -> bytes:
    return pictures.with_scans(20_000)


@bomb("too_complex", HEADER)
def jpeg_of_101_scans_of_49_million_pixels() -> bytes:
    return pictures.with_scans(101).replace(
        struct.pack(">HH", 48, 64), struct.pack(">HH", 7000, 7000)
    )


@bomb(KEPT)
def jpeg_of_100_scans_of_49_million_pixels() -> bytes:
    return pictures.with_scans(100).replace(
        struct.pack(">HH", 48, 64), struct.pack(">HH", 7000, 7000)
    )


def jpeg_of_segments(marker: int) -> bytes:
    return jpeg(segment(marker, b"\0\0") * 50_000)


for name, marker in {
    "APP0": 0xE0,
    "APP1": 0xE1,
    "APP13": 0xED,
    "COM": 0xFE,
    "DRI": 0xDD,
    "DNL": 0xDC,
}.items():
    add(f"JPEG of 50 000 {name} segments", jpeg_of_segments, marker)


@bomb(KEPT)
def jpeg_of_10_000_quantisation_tables() -> bytes:
    return jpeg(segment(0xDB, b"\0" + b"\1" * 64) * 10_000)


@bomb(KEPT)
def jpeg_of_10_000_huffman_tables() -> bytes:
    return jpeg(segment(0xC4, b"\0" + b"\0\1" + bytes(14) + b"\0") * 10_000)


@bomb(KEPT)
def jpeg_of_a_megabyte_of_padding() -> bytes:
    return jpeg(b"\xff" * MiB)


@bomb(KEPT)
def jpeg_of_a_megabyte_of_junk_between_its_segments() -> bytes:
    return jpeg(segment(0xE0, b""), bytes(MiB))


@bomb(KEPT)
def jpeg_of_100_000_restarts_between_its_segments() -> bytes:
    return jpeg(b"\xff\xd0" * 100_000)


@bomb(KEPT)
def jpeg_of_restarts_instead_of_data() -> bytes:
    body = pictures.jpeg(restart_marker_blocks=1)
    scan = body.index(b"\xff\xda") + 14
    return body[:scan] + b"\xff\xd0" * 100_000 + EOI


@bomb(KEPT)
def jpeg_whose_segment_has_no_length() -> bytes:
    return jpeg(b"\xff\xe1\0\0")


@bomb("truncated", HEADER)
def jpeg_whose_segment_is_longer_than_the_file() -> bytes:
    return SOI + b"\xff\xe1\xff\xff" + bytes(100)


@bomb("too_many_pixels", HEADER)
def jpeg_with_a_frame_in_front_of_its_frame() -> bytes:
    """The first header is small, the second large: whoever believes the first is in for it."""
    frame = b"\x08" + struct.pack(">HH", 8, 8) + b"\3\1\x22\0\2\x11\1\3\x11\1"
    return SOI + segment(0xC0, frame) + jpeg_claiming(65_535, 65_535)[2:]


@bomb("truncated")
def jpeg_with_a_frame_behind_its_frame() -> bytes:
    body = jpeg_claiming(65_535, 65_535)
    frame = b"\x08" + struct.pack(">HH", 8, 8) + b"\3\1\x22\0\2\x11\1\3\x11\1"
    scan = body.index(b"\xff\xda")
    return body[:scan] + segment(0xC0, frame) + body[scan:]


@bomb("too_many_pixels", HEADER)
def jpeg_with_its_frame_behind_its_first_scan() -> bytes:
    frame = b"\x08" + struct.pack(">HH", 65_535, 65_535) + b"\3\1\x22\0\2\x11\1\3\x11\1"
    return jpeg(after=segment(0xC0, frame))


@bomb("not_an_image")
def jpeg_of_255_layers() -> bytes:
    frame = b"\x08" + struct.pack(">HH", 8, 8) + b"\xff" + b"\1\x11\0" * 255
    return SOI + segment(0xC0, frame) + segment(0xDA, b"\1\1\0\0\x3f\0") + bytes(64) + EOI


@bomb("truncated")
def jpeg_of_sampling_factors_of_15() -> bytes:
    return pictures.jpeg().replace(b"\3\1\x22\0\2\x11\1\3\x11\1", b"\3\1\xff\0\2\xff\1\3\xff\1")


@bomb(KEPT)
def jpeg_of_cmyk_with_a_broken_adobe_marker() -> bytes:
    body = encoded(photo(64, 48).convert("CMYK"), "JPEG")
    return body.replace(b"Adobe\0\x64", b"Adobe\xff\xff")


@bomb(KEPT)
def jpeg_of_cmyk_that_calls_itself_ycck() -> bytes:
    body = encoded(photo(64, 48).convert("CMYK"), "JPEG")
    at = body.index(b"Adobe")
    return body[: at + 11] + b"\2" + body[at + 12 :]


@bomb(KEPT)
def jpeg_of_cmyk_without_an_adobe_marker() -> bytes:
    return encoded(photo(64, 48).convert("CMYK"), "JPEG").replace(b"Adobe", b"adobE")
