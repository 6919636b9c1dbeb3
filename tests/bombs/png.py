"""Chunks: too many, too long, packed too well."""

import struct
import zlib
from random import Random

from tests.bombs.making import HEADER, KEPT, MiB, add, bomb
from tests.pictures import chunk

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = chunk(b"IEND", b"")
GREY, COLOUR, PALETTE, COLOUR_AND_ALPHA = 0, 2, 3, 6


def ihdr(width: int, height: int, *, depth: int = 8, kind: int = COLOUR, lace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, lace))


def idat(rows: bytes) -> bytes:
    return chunk(b"IDAT", zlib.compress(rows, 9))


def png(*before: bytes, after: bytes = b"") -> bytes:
    """A good one of 8 x 8, with more chunks before and after its image data."""
    rows = (b"\0" + Random(1).randbytes(24)) * 8
    return b"".join([SIGNATURE, ihdr(8, 8), *before, idat(rows), after, END])


def compressed(size: int) -> bytes:
    """So many zero bytes."""
    press = zlib.compressobj(9)
    pieces = [press.compress(bytes(MiB)) for _ in range(size // MiB)]
    return b"".join([*pieces, press.flush()])


def png_without_data(width: int, height: int) -> bytes:
    return SIGNATURE + ihdr(width, height) + idat(b"") + END


for width, height, expected in (
    (2**31 - 1, 2**31 - 1, "too_many_pixels"),
    (2**32 - 1, 1, "too_many_pixels"),
    (1, 2**32 - 1, "too_many_pixels"),
    (12_000, 10_001, "too_many_pixels"),
    (0, 0, "not_an_image"),
    (0, 8, "not_an_image"),
    (8, 0, "not_an_image"),
):
    add(
        f"PNG of {width} x {height}",
        png_without_data,
        width,
        height,
        expected=expected,
        shown_by=HEADER,
    )
add("PNG of 120 million pixels without one", png_without_data, 12_000, 10_000, expected="truncated")


@bomb("truncated")
def png_of_one_pixel_a_row_and_no_rows() -> bytes:
    return SIGNATURE + ihdr(1, 65_535, kind=COLOUR_AND_ALPHA) + idat(b"\0") + END


@bomb(KEPT)
def png_as_wide_as_65535() -> bytes:
    return SIGNATURE + ihdr(65_535, 1, kind=GREY) + idat(bytes(65_536)) + END


@bomb(KEPT)
def png_as_high_as_65535() -> bytes:
    return SIGNATURE + ihdr(1, 65_535, kind=GREY) + idat(bytes(2 * 65_535)) + END


@bomb(KEPT)
def png_whose_data_goes_on_for_200_megabytes() -> bytes:
    return SIGNATURE + ihdr(8, 8) + chunk(b"IDAT", compressed(200 * MiB)) + END


@bomb(KEPT)
def png_of_100_000_chunks_before_its_data() -> bytes:
    return png(chunk(b"shOe", b"") * 100_000)


@bomb(KEPT)
def png_of_100_000_chunks_after_its_data() -> bytes:
    return png(after=chunk(b"shOe", b"") * 100_000)


@bomb(KEPT)
def png_of_100_000_empty_idats() -> bytes:
    return png(chunk(b"IDAT", b"") * 100_000)


@bomb(KEPT)
def png_of_20_000_texts() -> bytes:
    return png(b"".join(chunk(b"tEXt", b"%d\0x" % number) for number in range(20_000)))


def unpacking(name: bytes, *, after: bool = False) -> bytes:
    """To 64 MiB, from a text or a profile."""
    start = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[name]
    large = chunk(name, start + compressed(64 * MiB))
    return png(after=large) if after else png(large)


@bomb("not_an_image")
def png_whose_ztxt_unpacks_to_64_megabytes() -> bytes:
    return unpacking(b"zTXt")


@bomb("not_an_image")
def png_whose_itxt_unpacks_to_64_megabytes() -> bytes:
    return unpacking(b"iTXt")


@bomb("not_an_image")
def png_whose_profile_unpacks_to_64_megabytes() -> bytes:
    return unpacking(b"iCCP")


@bomb("truncated")
def png_whose_text_after_its_data_unpacks_to_64_megabytes() -> bytes:
    return unpacking(b"zTXt", after=True)


@bomb("not_an_image")
def png_whose_texts_unpack_to_100_megabytes() -> bytes:
    text = chunk(b"zTXt", b"a\0\0" + compressed(MiB))
    return png(text * 100)


@bomb("truncated")
def png_with_transparency_longer_than_its_palette() -> bytes:
    chunks = chunk(b"PLTE", bytes(6)) + chunk(b"tRNS", b"\x80" * 5000)
    return SIGNATURE + ihdr(8, 1, kind=PALETTE) + chunks + idat(bytes(9)) + END


@bomb(KEPT)
def png_whose_palette_has_no_colours() -> bytes:
    chunks = chunk(b"PLTE", b"")
    return SIGNATURE + ihdr(8, 1, kind=PALETTE) + chunks + idat(b"\0" + b"\xff" * 8) + END


@bomb("truncated")
def png_whose_palette_is_a_megabyte() -> bytes:
    chunks = chunk(b"PLTE", bytes(3 * 400_000))
    return SIGNATURE + ihdr(8, 1, kind=PALETTE) + chunks + idat(b"\0" + b"\xff" * 8) + END


@bomb(KEPT)
def png_interlaced() -> bytes:
    return SIGNATURE + ihdr(1, 1, lace=1) + idat(b"\0\1\2\3") + END


@bomb("not_an_image")
def png_of_an_impossible_depth() -> bytes:
    return SIGNATURE + ihdr(8, 8, depth=99) + idat(bytes(200)) + END


@bomb("too_many_pixels", HEADER)
def png_with_two_headers_the_second_larger() -> bytes:
    return png(ihdr(50_000, 50_000))


@bomb("truncated", HEADER)
def png_with_a_chunk_longer_than_the_file() -> bytes:
    return SIGNATURE + ihdr(8, 8) + b"\x7f\xff\xff\xffIDAT" + bytes(100)


@bomb("truncated", HEADER)
def png_with_a_chunk_of_negative_length() -> bytes:
    return SIGNATURE + ihdr(8, 8) + b"\xff\xff\xff\xf8IDAT" + bytes(100)


def fctl(number: int, width: int, height: int) -> bytes:
    return chunk(b"fcTL", struct.pack(">5I2H2B", number, width, height, 0, 0, 1, 10, 0, 0))


def apng(width: int, height: int, *, frames: int, announced: int | None = None) -> bytes:
    """Its frames are a pixel each."""
    start = chunk(b"acTL", struct.pack(">2I", frames if announced is None else announced, 0))
    rows = zlib.compress(bytes(4))
    first = fctl(0, width, height) + idat(bytes((3 * width + 1) * height))
    others = [
        fctl(2 * number - 1, 1, 1) + chunk(b"fdAT", struct.pack(">I", 2 * number) + rows)
        for number in range(1, frames)
    ]
    return b"".join([SIGNATURE, ihdr(width, height), start, first, *others, END])


@bomb("too_many_frames", HEADER)
def apng_of_501_frames() -> bytes:
    return apng(1, 1, frames=501)


@bomb("too_many_frames", HEADER)
def apng_of_50_000_frames() -> bytes:
    return apng(1, 1, frames=50_000)


@bomb("too_many_frames", HEADER)
def apng_of_gigapixels_in_all_frames() -> bytes:
    return apng(2000, 1000, frames=500)


@bomb("truncated", HEADER)
def apng_that_announces_four_billion_frames() -> bytes:
    return apng(1, 1, frames=3, announced=2**32 - 1)


@bomb("not_an_image")
def apng_whose_first_frame_lies_outside() -> bytes:
    return apng(1, 1, frames=2).replace(fctl(0, 1, 1), fctl(0, 9999, 9999))


@bomb(KEPT)
def apng_that_announces_no_frame() -> bytes:
    return apng(1, 1, frames=3, announced=0)
