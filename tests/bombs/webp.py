"""Canvases, frames and what they say of each other."""

import struct

from tests import pictures
from tests.bombs.making import HEADER, KEPT, WHOLE, bomb


def riff_chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def riff(*chunks: bytes) -> bytes:
    return riff_chunk(b"RIFF", b"WEBP" + b"".join(chunks))


def uint24(number: int) -> bytes:
    return number.to_bytes(3, "little")


ALPHA, EXIF, ANIMATION = 0x10, 0x08, 0x02


def vp8x(width: int, height: int, flags: int) -> bytes:
    return riff_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + uint24(width - 1) + uint24(height - 1))


def vp8() -> bytes:
    """The chunk of a good picture of 64 x 48."""
    return pictures.webp()[12:]


def webp(
    *after: bytes, width: int = 64, height: int = 48, flags: int = EXIF, data: bytes = b""
) -> bytes:
    """A good one in the long form, with more chunks after its image data."""
    return riff(vp8x(width, height, flags), data or vp8(), *after)


def anmf(width: int, height: int, *, left: int = 0, top: int = 0, data: bytes = b"") -> bytes:
    place = uint24(left // 2) + uint24(top // 2) + uint24(width - 1) + uint24(height - 1)
    return riff_chunk(b"ANMF", place + uint24(100) + b"\0" + (data or vp8()))


def animated(width: int, height: int, *frames: bytes) -> bytes:
    return riff(vp8x(width, height, ANIMATION), riff_chunk(b"ANIM", bytes(6)), *frames)


@bomb("too_many_pixels", HEADER)
def webp_whose_canvas_is_four_gigapixels() -> bytes:
    return webp(width=65_536, height=65_535)


@bomb("too_many_pixels", HEADER)
def webp_whose_canvas_overflows() -> bytes:
    return webp(width=2**24, height=2**24)


@bomb("too_many_pixels", HEADER)
def webp_lossy_of_268_million_pixels() -> bytes:
    body = bytearray(pictures.webp())
    body[26:30] = struct.pack("<HH", 16_383, 16_383)
    return bytes(body)


@bomb("too_many_pixels", HEADER)
def webp_lossless_of_268_million_pixels() -> bytes:
    return riff(riff_chunk(b"VP8L", b"\x2f" + struct.pack("<I", 0x0FFFFFFF) + bytes(10)))


@bomb("truncated", WHOLE)
def webp_lossy_of_100_million_pixels_without_data() -> bytes:
    body = bytearray(pictures.webp())
    body[26:30] = struct.pack("<HH", 10_000, 10_000)
    return bytes(body)


@bomb("truncated", WHOLE)
def webp_lossless_of_100_million_pixels_without_data() -> bytes:
    size = 9999 | 9999 << 14
    return riff(riff_chunk(b"VP8L", b"\x2f" + struct.pack("<I", size) + bytes(10)))


@bomb("not_an_image")
def webp_of_zero_size() -> bytes:
    body = bytearray(pictures.webp())
    body[26:30] = bytes(4)
    return bytes(body)


@bomb("not_an_image")
def webp_whose_canvas_is_another_size() -> bytes:
    return webp(width=640, height=480)


@bomb("too_many_frames", HEADER)
def webp_of_501_frames() -> bytes:
    return animated(64, 48, *[anmf(64, 48)] * 501)


@bomb("too_many_frames", HEADER)
def webp_of_100_000_frames() -> bytes:
    return animated(64, 48, *[riff_chunk(b"ANMF", b"")] * 100_000)


@bomb("too_many_frames", HEADER)
def webp_of_gigapixels_in_all_frames() -> bytes:
    return animated(10_000, 10_000, *[anmf(64, 48)] * 4)


@bomb("not_an_image")
def webp_whose_frame_lies_outside_its_canvas() -> bytes:
    return animated(64, 48, anmf(64, 48), anmf(64, 48, left=1000, top=1000))


@bomb("not_an_image")
def webp_animated_without_frames() -> bytes:
    return animated(64, 48)


@bomb(KEPT)
def webp_of_100_000_unknown_chunks() -> bytes:
    return webp(riff_chunk(b"shoe", b"") * 100_000)


@bomb(KEPT)
def webp_of_100_000_exif_chunks() -> bytes:
    return webp(riff_chunk(b"EXIF", b"MM") * 100_000)


@bomb("truncated")
def webp_whose_alpha_is_noise() -> bytes:
    return webp(flags=ALPHA, data=riff_chunk(b"ALPH", b"\1" + b"\xff" * 500) + vp8())


@bomb("truncated")
def webp_whose_alpha_is_too_short() -> bytes:
    return webp(flags=ALPHA, data=riff_chunk(b"ALPH", b"\0\xff") + vp8())


@bomb("not_an_image")
def webp_whose_chunk_is_longer_than_the_file() -> bytes:
    return riff(vp8x(64, 48, 0), b"VP8 \xff\xff\xff\x7f" + bytes(100))


@bomb("not_an_image")
def webp_whose_chunks_have_the_largest_length() -> bytes:
    return riff(vp8x(64, 48, EXIF), vp8(), b"EXIF\xff\xff\xff\xff")
