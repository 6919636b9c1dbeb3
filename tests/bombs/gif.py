"""Blocks of one byte and frames without end."""

import struct

from tests.bombs.making import HEADER, KEPT, MiB, add, bomb

TRAILER = b";"
LZW = b"\x02\x02\x4c\x01\0"  # one pixel


def screen(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"


def frame(width: int, height: int, *, left: int = 0, top: int = 0, lzw: bytes = LZW) -> bytes:
    return b"," + struct.pack("<HHHHB", left, top, width, height, 0) + lzw


@bomb("too_many_pixels", HEADER)
def gif_of_four_gigapixels() -> bytes:
    return screen(65_535, 65_535) + frame(1, 1) + TRAILER


@bomb("too_many_pixels", HEADER)
def gif_whose_frame_reaches_far_beyond_its_screen() -> bytes:
    return screen(1, 1) + frame(1, 1, left=65_535, top=65_535) + TRAILER


@bomb("too_many_pixels", HEADER)
def gif_whose_last_frame_is_the_large_one() -> bytes:
    return screen(1, 1) + frame(1, 1) * 20 + frame(65_535, 65_535) + TRAILER


@bomb("too_many_frames", HEADER)
def gif_of_501_frames() -> bytes:
    return screen(1, 1) + frame(1, 1) * 501 + TRAILER


@bomb("too_many_frames", HEADER)
def gif_of_100_000_frames() -> bytes:
    return screen(1, 1) + frame(1, 1) * 100_000 + TRAILER


@bomb("too_many_frames", HEADER)
def gif_of_gigapixels_in_all_frames() -> bytes:
    return screen(10_000, 10_000) + frame(1, 1) * 4 + TRAILER


@bomb("truncated")
def gif_of_100_million_pixels_with_data_for_one() -> bytes:
    return screen(10_000, 10_000) + frame(10_000, 10_000) + TRAILER


@bomb("truncated")
def gif_as_wide_as_65535_with_data_for_one() -> bytes:
    return screen(65_535, 1) + frame(65_535, 1) + TRAILER


for width, height in (0, 0), (0, 1), (1, 0):
    body = screen(width, height) + frame(width, height) + TRAILER
    add(f"GIF of {width} x {height}", bytes, body, expected="not_an_image")


@bomb(KEPT)
def gif_of_a_million_empty_extensions() -> bytes:
    return screen(1, 1) + b"!\xfe\0" * 1_000_000 + frame(1, 1) + TRAILER


@bomb(KEPT)
def gif_of_a_million_blocks_of_one_byte() -> bytes:
    return screen(1, 1) + b"!\xfe" + b"\1x" * 1_000_000 + b"\0" + frame(1, 1) + TRAILER


@bomb(KEPT)
def gif_of_a_megabyte_of_junk_between_its_blocks() -> bytes:
    return screen(1, 1) + bytes(MiB) + frame(1, 1) + TRAILER


@bomb(KEPT)
def gif_of_a_million_blocks_of_data_that_nobody_needs() -> bytes:
    return screen(1, 1) + frame(1, 1, lzw=LZW[:-1] + b"\1x" * 1_000_000 + b"\0") + TRAILER


def gif_of_codes(bits: int) -> bytes:
    return screen(1, 1) + frame(1, 1, lzw=bytes([bits]) + LZW[1:]) + TRAILER


for bits, expected in (0, KEPT), (1, KEPT), (12, KEPT), (13, "truncated"), (255, "truncated"):
    add(f"GIF whose codes begin with {bits} bits", gif_of_codes, bits, expected=expected)


@bomb("truncated")
def gif_whose_codes_are_not_in_its_table() -> bytes:
    return screen(9, 9) + frame(9, 9, lzw=b"\2\x08" + b"\xff" * 8 + b"\0") + TRAILER


@bomb("truncated")
def gif_of_clear_codes() -> bytes:
    return (
        screen(9, 9)
        + frame(9, 9, lzw=b"\2" + (b"\xff" + b"\x24\x49\x92" * 85) * 4000 + b"\0")
        + TRAILER
    )


@bomb("not_an_image")
def gif_without_a_frame() -> bytes:
    return screen(1, 1) + TRAILER


@bomb("truncated")
def gif_of_interlace_without_data() -> bytes:
    return screen(9, 9) + b"," + struct.pack("<HHHHB", 0, 0, 9, 9, 0x40) + b"\2\0" + TRAILER


@bomb("truncated", HEADER)
def gif_cut_in_its_palette() -> bytes:
    return b"GIF89a\1\0\1\0\xf7\0\0" + bytes(100)
