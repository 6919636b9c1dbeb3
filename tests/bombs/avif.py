"""Boxes in boxes, and a decoder of video behind them."""

import struct

from tests import pictures
from tests.bombs.making import HEADER, KEPT, add, bomb


def box(name: bytes, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return struct.pack(">I4s", len(body) + 8, name) + body


def full(name: bytes, *bodies: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(name, struct.pack(">I", version << 24 | flags), *bodies)


def avif(*boxes: bytes) -> bytes:
    """A good one of 64 x 48, with more boxes after its first; where the data lies is corrected."""
    body = pictures.avif()
    first = int.from_bytes(body[:4])
    more = b"".join(boxes)
    data = body.index(b"mdat") + 4
    rest = body[first:].replace(struct.pack(">I", data), struct.pack(">I", data + len(more)))
    return body[:first] + more + rest


def avif_claiming(width: int, height: int) -> bytes:
    return pictures.avif().replace(
        b"ispe\0\0\0\0" + struct.pack(">II", 64, 48),
        b"ispe\0\0\0\0" + struct.pack(">II", width, height),
    )


for width, height in (65_535, 65_535), (2**31, 2**31), (2**32 - 1, 1), (12_000, 10_001):
    add(
        f"AVIF of {width} x {height}",
        avif_claiming,
        width,
        height,
        expected="too_many_pixels",
        shown_by=HEADER,
    )
for width, height, expected in (
    (0, 0, "not_an_image"),
    (0, 48, "not_an_image"),
    (6000, 5000, KEPT),
    (63, 48, KEPT),
):
    add(
        f"AVIF of {width} x {height} with data for another size",
        avif_claiming,
        width,
        height,
        expected=expected,
    )


def grid_item(number: int) -> bytes:
    return full(b"infe", struct.pack(">HH4s", number, 0, b"av01"), b"\0", version=2)


@bomb("not_an_image")
def avif_of_10_000_tiles_that_are_not_there() -> bytes:
    """A grid of 100 x 100, whose tiles are found one by one among all items."""
    tiles = range(2, 10_002)
    items = full(b"infe", struct.pack(">HH4s", 1, 0, b"grid"), b"\0", version=2)
    entries = struct.pack(">H", len(tiles) + 1) + items + b"".join(map(grid_item, tiles))
    places = b"".join(struct.pack(">HHHII", each, 0, 1, 8, 8) for each in (1, *tiles))
    references = struct.pack(">HH", 1, len(tiles)) + struct.pack(f">{len(tiles)}H", *tiles)
    size = full(b"ispe", struct.pack(">II", 6400, 4800))
    meta = full(
        b"meta",
        full(b"hdlr", bytes(4), b"pict", bytes(13)),
        full(b"pitm", b"\0\1"),
        full(b"iinf", entries),
        full(b"iloc", b"\x44\0" + struct.pack(">H", len(tiles) + 1) + places),
        full(b"iref", box(b"dimg", references)),
        box(b"iprp", box(b"ipco", size), full(b"ipma", struct.pack(">IHBB", 1, 1, 1, 1))),
    )
    return box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf") + meta + box(b"mdat", bytes(64))


def nested(depth: int) -> bytes:
    body = b""
    for _ in range(depth):
        body = box(b"meta", bytes(4), body) if len(body) < 60_000 else box(b"moov", body)
    return body


@bomb("not_an_image")
def avif_of_boxes_nested_2000_deep() -> bytes:
    return pictures.avif()[:32] + nested(2000)


@bomb(KEPT)
def avif_of_100_000_empty_boxes() -> bytes:
    return avif(box(b"free") * 100_000)


@bomb("not_an_image")
def avif_of_a_box_of_size_zero() -> bytes:
    return avif(b"\0\0\0\0free")


@bomb("not_an_image")
def avif_of_a_box_of_size_one() -> bytes:
    return avif(b"\0\0\0\1free" + struct.pack(">Q", 2**63))


@bomb("not_an_image")
def avif_of_a_box_of_the_largest_size() -> bytes:
    return avif(b"\0\0\0\1free" + b"\xff" * 8)


@bomb("not_an_image")
def avif_of_a_box_shorter_than_its_header() -> bytes:
    return avif(b"\0\0\0\4free")


@bomb("not_an_image")
def avif_whose_data_is_four_gigabytes() -> bytes:
    body = pictures.avif()
    end = body.index(b"iinf") - 4
    return body[: end - 4] + b"\xff\xff\xff\xff" + body[end:]


@bomb("not_an_image")
def avif_whose_items_are_65535() -> bytes:
    body = pictures.avif()
    at = body.index(b"iinf") + 8
    return body[:at] + b"\xff\xff" + body[at + 2 :]


@bomb("too_many_frames", HEADER)
def avif_of_501_frames() -> bytes:
    return pictures.animation("AVIF", 8, 8, frames=501)
