"""What is taken, what is refused and why, and what is left of a picture in its renditions."""

import struct
import zlib
from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from media_api.exceptions import (
    Empty,
    NotAnImage,
    TooComplex,
    TooManyFrames,
    TooManyPixels,
    Truncated,
    Verdict,
)
from media_api.imaging import Facts, Limits, Rendition, examine
from media_api.planes import Planes
from media_api.sides import fit, rendition_sides
from media_api.webp import QUICK, THOROUGH, Effort, encode

from . import pictures

LIMITS = Limits(
    max_jpeg_pixels=210_000_000,
    max_pixels=120_000_000,
    max_frames=500,
    max_animation_pixels=300_000_000,
    max_scans=100,
)
PIXELS = 64 * 48
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
GOOD = {
    "jpeg": pictures.jpeg(),
    "progressive": pictures.jpeg(progressive=True),
    "png": pictures.png(),
    "webp": pictures.webp(),
    "lossless webp": pictures.webp(lossless=True),
    "gif": pictures.gif(),
    "avif": pictures.avif(),
    **{f"animated {format}": pictures.animation(format) for format in ANIMATED},
}


def look(body: bytes, limits: Limits = LIMITS) -> Facts:
    return examine(BytesIO(body), limits=limits)


def shown(rendition: Rendition) -> Image.Image:
    picture = Image.open(BytesIO(rendition.body), formats=["WEBP"])
    picture.load()
    return picture


def shown_smallest(body: bytes) -> Image.Image:
    return shown(look(body).renditions[0])


def assert_colour(picture: Image.Image, at: tuple[int, int], colour: tuple[int, ...]) -> None:
    pixel = picture.getpixel(at)
    assert isinstance(pixel, tuple)
    assert max(abs(a - b) for a, b in zip(pixel, colour, strict=True)) < 20, (pixel, colour)


# --- formats


@pytest.mark.parametrize(
    ("body", "content_type", "extension"),
    [
        (pictures.jpeg(), "image/jpeg", "jpg"),
        (pictures.jpeg(progressive=True), "image/jpeg", "jpg"),
        (pictures.png(), "image/png", "png"),
        (pictures.webp(), "image/webp", "webp"),
        (pictures.webp(lossless=True), "image/webp", "webp"),
        (pictures.gif(), "image/gif", "gif"),
        (pictures.avif(), "image/avif", "avif"),
    ],
)
def test_each_format_is_taken(body: bytes, content_type: str, extension: str) -> None:
    facts = look(body)
    assert (facts.content_type, facts.extension) == (content_type, extension)
    assert (facts.width, facts.height, facts.frames) == (64, 48, 1)
    assert [(r.side, r.width, r.height) for r in facts.renditions] == [(320, 64, 48)]
    assert shown(facts.renditions[0]).size == (64, 48)


@pytest.mark.parametrize("format", ANIMATED)
def test_frames_are_counted_and_the_first_is_shown(format: str) -> None:
    others = [Image.new("RGB", (64, 48), colour) for colour in ("white", "black")]
    body = pictures.encoded(pictures.quarters(), format, save_all=True, append_images=others)
    facts = look(body)
    assert facts.frames == 3
    assert_colour(shown(facts.renditions[0]).convert("RGB"), (10, 10), pictures.RED)


def test_the_default_image_of_an_apng_is_no_frame() -> None:
    frames = [pictures.photo(64, 48, seed=seed) for seed in range(3)]
    body = pictures.encoded(
        frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True
    )
    assert look(body).frames == 2


def test_a_phones_jpeg_of_several_pictures_is_one_jpeg() -> None:
    pair = [pictures.photo(64, 48, seed=seed) for seed in range(2)]
    body = pictures.encoded(pair[0], "MPO", save_all=True, append_images=pair[1:])
    facts = look(body)
    assert (facts.content_type, facts.frames) == ("image/jpeg", 1)
    assert look(body[:-600]).frames == 1  # what follows the first picture may be cut


def test_the_placeholder_is_a_tiny_webp() -> None:
    scheme, encoded = look(pictures.jpeg(640, 480)).placeholder.split(",")
    assert scheme == "data:image/webp;base64"
    with Image.open(BytesIO(b64decode(encoded)), formats=["WEBP"]) as picture:
        assert picture.size == (16, 12)
    assert len(encoded) < 600


@pytest.mark.parametrize(
    "body",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7\n",
        b"<!DOCTYPE html><title>GIF89a</title>",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
        pictures.encoded(pictures.photo(64, 48), "TIFF"),
        pictures.encoded(pictures.photo(64, 48), "BMP"),
        pictures.encoded(pictures.photo(64, 48), "ICO"),
        pictures.encoded(pictures.photo(64, 48), "JPEG2000"),
        b"\x89PNG\r\n\x1a\n" + bytes(64),
        b"RIFF\x40\0\0\0WAVE" + bytes(64),
        b" " + pictures.png(),
        b"\0",
    ],
    ids=["svg", "pdf", "html", "heic", "tiff", "bmp", "ico", "jp2", "png", "wav", "shifted", "nul"],
)
def test_other_formats_are_refused(body: bytes) -> None:
    with pytest.raises(NotAnImage):
        look(body)


def test_nothing_is_refused_as_empty() -> None:
    with pytest.raises(Empty):
        look(b"")


def test_it_reads_from_the_beginning_of_the_file() -> None:
    file = BytesIO(pictures.png())
    file.read()
    assert examine(file, limits=LIMITS).width == 64


# --- whole or not


@pytest.mark.parametrize("name", GOOD)
def test_a_cut_file_is_refused_wherever_it_was_cut(name: str) -> None:
    body = GOOD[name]
    places = {len(body) // 3, len(body) // 2, len(body) * 2 // 3, len(body) - 20, len(body) - 1}
    for place in places:
        with pytest.raises(Truncated):
            look(body[:place])


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("rest", [b"<script>alert(1)</script>", b"PK\x03\x04" * 9, b"\0" * 4000])
def test_what_follows_a_picture_changes_nothing(name: str, rest: bytes) -> None:
    body = GOOD[name]
    assert replace(look(body + rest), cuts=()) == replace(look(body), cuts=())


def test_a_cut_jpeg_is_refused_where_it_is_decoded_at_a_reduced_scale() -> None:
    for body in (pictures.jpeg(640, 480), pictures.jpeg(640, 480, progressive=True)):
        assert look(body).renditions[-1].side == 320
        for cut in (pictures.truncated(body), body[:-2]):
            with pytest.raises(Truncated):
                look(cut)


def test_damaged_image_data_of_a_png_is_noticed() -> None:
    body = bytearray(pictures.png(compress_level=0))
    body[len(body) // 2] ^= 1
    with pytest.raises(Truncated):
        look(bytes(body))


def png_that_claims(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = pictures.png(64, 48)
    return body[:8] + pictures.chunk(b"IHDR", header) + body[33:]


def test_a_header_that_lies_costs_no_more_than_its_claim() -> None:
    assert look(png_that_claims(64, 48)) == look(pictures.png())
    assert look(png_that_claims(64, 480)).height == 480  # as in a browser, the rest is black
    with pytest.raises(TooManyPixels):
        look(png_that_claims(64, 480), replace(LIMITS, max_pixels=PIXELS))


def test_a_header_with_a_wrong_checksum_is_not_read() -> None:
    body = bytearray(pictures.png())
    body[19] ^= 1
    with pytest.raises(NotAnImage):
        look(bytes(body))


def test_a_webp_whose_frame_is_larger_than_its_canvas_is_not_read() -> None:
    body = bytearray(pictures.webp(icc_profile=pictures.swapped_profile()))
    assert body[12:16] == b"VP8X"
    body[24] -= 1
    with pytest.raises(NotAnImage):
        look(bytes(body))


def test_an_apng_must_have_the_frames_it_announces() -> None:
    body = pictures.animation("PNG", frames=3)
    start = body.index(b"acTL") - 4
    body = body[:start] + pictures.chunk(b"acTL", struct.pack(">II", 4, 0)) + body[start + 20 :]
    with pytest.raises(Truncated):
        look(body)


# --- limits


def test_at_its_limits_a_picture_is_taken() -> None:
    limits = Limits(PIXELS, PIXELS, 3, 3 * PIXELS, 10)
    look(pictures.jpeg(progressive=True), limits)
    for format in ANIMATED:
        look(pictures.animation(format, frames=3), limits)


@pytest.mark.parametrize("name", GOOD)
def test_too_many_pixels(name: str) -> None:
    limits = replace(LIMITS, max_jpeg_pixels=PIXELS - 1, max_pixels=PIXELS - 1)
    with pytest.raises(TooManyPixels):
        look(GOOD[name], limits)


def test_jpegs_have_a_limit_of_their_own() -> None:
    look(pictures.jpeg(), replace(LIMITS, max_pixels=1))
    look(pictures.png(), replace(LIMITS, max_jpeg_pixels=1))


@pytest.mark.parametrize("format", ANIMATED)
def test_too_many_frames(format: str) -> None:
    with pytest.raises(TooManyFrames):
        look(pictures.animation(format, frames=3), replace(LIMITS, max_frames=2))


@pytest.mark.parametrize("format", ANIMATED)
def test_too_many_pixels_in_all_frames(format: str) -> None:
    limits = replace(LIMITS, max_animation_pixels=2 * PIXELS)
    look(pictures.animation(format, frames=2), limits)
    with pytest.raises(TooManyFrames):
        look(pictures.animation(format, frames=3), limits)


def test_too_many_scans() -> None:
    look(pictures.with_scans(100))
    with pytest.raises(TooComplex):
        look(pictures.with_scans(101))


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x89PNG\r\n\x1a\n"
        + pictures.chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 6, 0, 0, 0)),
        b"GIF89a\xff\xff\xff\xff\0\0\0",
        b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\xff\xff\xff\xff\0",
        b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\xff\xff\x0f\xff\x0f\0",
        b"RIFF\x16\0\0\0WEBPVP8L\x0a\0\0\0\x2f\xff\xff\xff\x0f\0\0\0\0\0",
        b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\1\x11\0\2\x11\0\3\x11\0",
    ],
    ids=["png", "gif", "gif frame", "webp canvas", "webp lossless", "jpeg"],
)
def test_a_bomb_is_refused_by_its_header_alone(bomb: bytes) -> None:
    with pytest.raises(TooManyPixels):
        look(bomb)


def test_memory_that_is_not_there_is_a_verdict() -> None:
    class Exhausted(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise MemoryError

    with pytest.raises(TooComplex):
        examine(Exhausted(pictures.jpeg()), limits=LIMITS)


# --- sizes


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        ((1, 1), [320]),
        ((320, 200), [320]),
        ((321, 200), [320]),
        ((640, 641), [320, 640]),
        ((1280, 1280), [320, 640]),
        ((2560, 9), [320, 640, 1280]),
        ((100, 9000), [320, 640, 1280, 2560]),
    ],
)
def test_sides_are_those_below_the_longest(size: tuple[int, int], sides: list[int]) -> None:
    assert rendition_sides(*size) == sides


@given(st.integers(1, 70_000), st.integers(1, 70_000), st.integers(1, 5000))
def test_fitting_keeps_within_the_side_and_the_picture(width: int, height: int, side: int) -> None:
    fitted = fit(width, height, side)
    assert max(fitted) == min(side, max(width, height))
    assert 1 <= fitted[0] <= width
    assert 1 <= fitted[1] <= height


@pytest.mark.parametrize(
    ("body", "sizes"),
    [
        (pictures.jpeg(10, 20), [(10, 20)]),
        (pictures.jpeg(1300, 700), [(320, 172), (640, 345), (1280, 689)]),
        (pictures.png(330, 3), [(320, 3)]),
        (pictures.webp(3, 700), [(1, 320), (3, 640)]),
        (pictures.rotated_jpeg(6, 500, 700), [(229, 320), (457, 640)]),
    ],
)
def test_renditions_have_their_sizes(body: bytes, sizes: list[tuple[int, int]]) -> None:
    renditions = look(body).renditions
    assert [(r.width, r.height) for r in renditions] == sizes
    assert [shown(r).size for r in renditions] == sizes


def test_a_large_jpeg_is_decoded_at_a_reduced_scale_and_shown_at_every_side() -> None:
    facts = look(pictures.encoded(pictures.quarters(5200, 900), "JPEG"))
    assert (facts.width, facts.height) == (5200, 900)
    assert [r.width for r in facts.renditions] == [320, 640, 1280, 2560]
    assert_colour(shown(facts.renditions[-1]), (10, 10), pictures.RED)
    assert_colour(shown(facts.renditions[0]), (310, 50), pictures.WHITE)


# --- upright


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation: int) -> None:
    facts = look(pictures.rotated_jpeg(orientation, 400, 300))
    assert (facts.width, facts.height) == (400, 300)
    picture = shown(facts.renditions[0])
    assert picture.size == (320, 240)
    assert_colour(picture, (20, 20), pictures.RED)
    assert_colour(picture, (300, 20), pictures.GREEN)
    assert_colour(picture, (20, 220), pictures.BLUE)
    assert_colour(picture, (300, 220), pictures.WHITE)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_other_formats_are_turned_too(format: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    facts = look(pictures.encoded(pictures.quarters(64, 48), format, exif=exif))
    assert (facts.width, facts.height) == (48, 64)
    assert_colour(shown(facts.renditions[0]).convert("RGB"), (40, 8), pictures.RED)


def xmp(orientation: int) -> str:
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'


def in_text(keyword: str, text: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt(keyword, text)
    return info


def exif_in_hex(orientation: int) -> str:
    """As ImageMagick writes it: a name, a length, lines of digits."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    block = exif.tobytes()
    return f"\nexif\n{len(block):8}\n{block.hex()}\n"


@pytest.mark.parametrize(
    "body",
    [
        pictures.encoded(pictures.quarters(), "JPEG", xmp=xmp(6).encode()),
        pictures.encoded(pictures.quarters(), "WEBP", xmp=xmp(6)),
        pictures.encoded(pictures.quarters(), "PNG", pnginfo=in_text("XML:com.adobe.xmp", xmp(6))),
        pictures.encoded(
            pictures.quarters(), "PNG", pnginfo=in_text("Raw profile type exif", exif_in_hex(6))
        ),
    ],
    ids=["JPEG's XMP", "WebP's XMP", "PNG's XMP", "ImageMagick's text"],
)
def test_an_orientation_outside_of_exif_is_applied(body: bytes) -> None:
    facts = look(body)
    assert (facts.width, facts.height) == (48, 64)
    picture = shown(facts.renditions[0]).convert("RGB")
    assert_colour(picture, (40, 8), pictures.RED)
    assert_colour(picture, (8, 8), pictures.BLUE)


def test_exif_wins_over_xmp() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    body = pictures.encoded(pictures.quarters(), "JPEG", exif=exif, xmp=xmp(6).encode())
    assert_colour(shown_smallest(body), (10, 10), pictures.WHITE)


def test_an_avif_is_turned_by_its_boxes_whatever_its_exif_says() -> None:
    """Pillow writes the orientation as irot, and the other entry; that becomes an orientation too."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.ImageWidth] = 7
    body = pictures.encoded(pictures.quarters(), "AVIF", exif=exif, quality=90)
    entry, claim = struct.pack(">HHII", 256, 4, 1, 7), struct.pack(">HHIHH", 274, 3, 1, 3, 0)
    assert b"irot" in body
    assert entry in body
    facts = look(body.replace(entry, claim))
    assert (facts.width, facts.height) == (48, 64)
    assert_colour(shown(facts.renditions[0]).convert("RGB"), (40, 8), pictures.RED)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("damage", [b"XXXX", b"MM\0*\xff\xff\xff\xff", b"MM\0*\0\0\0\0"])
def test_a_broken_exif_block_is_ignored(format: str, damage: bytes) -> None:
    exif = Image.Exif()
    exif.endian = ">"
    exif[ExifTags.Base.ImageDescription] = "Anywhere"
    block = exif.tobytes()
    body = pictures.encoded(pictures.quarters(), format, exif=exif)
    tiff = block[block.index(b"MM\0*") :]
    assert tiff in body
    body = body.replace(tiff, damage + tiff[len(damage) :])
    if format == "PNG":
        start = body.index(b"eXIf") + 4
        end = start + len(tiff)
        checksum = struct.pack(">I", zlib.crc32(body[start - 4 : end]))
        body = body[:end] + checksum + body[end + 4 :]
    assert look(body).width == 64


# --- colours


def test_transparency_survives() -> None:
    clear = Image.new("RGBA", (64, 48), (*pictures.RED, 0))
    clear.paste((*pictures.GREEN, 128), (32, 0, 64, 48))
    for format in ("PNG", "WEBP", "AVIF"):
        picture = shown_smallest(pictures.encoded(clear, format))
        assert picture.mode == "RGBA"
        assert_colour(picture, (50, 20), (*pictures.GREEN, 128))
        assert picture.getchannel("A").getpixel((10, 20)) == 0


def test_transparency_of_a_palette_survives() -> None:
    picture = Image.new("P", (64, 48), 0)
    picture.putpalette([*pictures.RED, *pictures.GREEN])
    picture.paste(1, (32, 0, 64, 48))
    for body in (
        pictures.encoded(picture, "GIF", transparency=0),
        pictures.encoded(picture, "PNG", transparency=0),
        pictures.encoded(picture, "PNG", transparency=b"\0\xff"),
    ):
        small = shown_smallest(body)
        assert small.getchannel("A").getpixel((10, 20)) == 0
        assert_colour(small, (50, 20), (*pictures.GREEN, 255))


@pytest.mark.parametrize(
    ("picture", "options", "expected"),
    [
        (Image.new("1", (64, 48), 1), {}, (255, 255, 255)),
        (Image.new("1", (64, 48), 1), {"transparency": 1}, (255, 255, 255, 0)),
        (Image.new("L", (64, 48), 100), {}, (100, 100, 100)),
        (Image.new("L", (64, 48), 100), {"transparency": 7}, (100, 100, 100, 255)),
        (Image.new("LA", (64, 48), (100, 50)), {}, (100, 100, 100, 50)),
        (Image.new("I;16", (64, 48), 100 << 8), {}, (100, 100, 100)),
        (Image.new("I;16", (64, 48), 65535), {}, (255, 255, 255)),
        (Image.new("I;16", (64, 48), 100 << 8), {"transparency": 100 << 8}, (0, 0, 0, 0)),
        (Image.new("RGB", (64, 48), (9, 90, 200)), {"transparency": (1, 2, 3)}, (9, 90, 200, 255)),
    ],
)
def test_every_kind_of_png_is_shown_as_it_is(
    picture: Image.Image, options: dict[str, object], expected: tuple[int, ...]
) -> None:
    small = shown_smallest(pictures.encoded(picture, "PNG", **options))
    if expected[-1] == 0 and len(expected) == 4:
        assert small.getchannel("A").getpixel((32, 24)) == 0
    else:
        assert_colour(small.convert("RGBA"[: len(expected)]), (32, 24), expected)


def test_sixteen_bits_of_colour_are_shown_as_eight() -> None:
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    row = b"\0" + struct.pack(">HHH", 51400, 25700, 0) * 2
    body = (
        b"\x89PNG\r\n\x1a\n"
        + pictures.chunk(b"IHDR", header)
        + pictures.chunk(b"IDAT", zlib.compress(row * 2))
        + pictures.chunk(b"IEND", b"")
    )
    assert_colour(shown_smallest(body), (0, 0), (200, 100, 0))


ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"  # of colours that are not transformed
RGB_JPEG = pictures.encoded(pictures.quarters(), "JPEG", keep_rgb=True, quality=95)


@pytest.mark.parametrize(
    "body",
    [
        RGB_JPEG,
        RGB_JPEG.replace(ADOBE, b""),
        RGB_JPEG.replace(b"R\x11\0G\x11\0B", b"\1\x11\0\2\x11\0\3").replace(
            b"R\0G\0B", b"\1\0\2\0\3"
        ),
    ],
    ids=["by both", "by their names", "by Adobe's segment"],
)
def test_a_jpeg_that_has_rgb_is_shown_in_its_colours(body: bytes) -> None:
    picture = shown_smallest(body)
    assert_colour(picture, (10, 10), pictures.RED)
    assert_colour(picture, (50, 10), pictures.GREEN)


def test_cmyk_is_shown_in_its_colours() -> None:
    body = pictures.encoded(pictures.quarters().convert("CMYK"), "JPEG", quality=95)
    picture = shown_smallest(body)
    assert picture.mode == "RGB"
    assert_colour(picture, (10, 10), pictures.RED)
    assert_colour(picture, (50, 40), pictures.WHITE)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_colours_are_converted_by_the_embedded_profile(format: str) -> None:
    body = pictures.encoded(
        pictures.quarters(), format, icc_profile=pictures.swapped_profile(), quality=95
    )
    picture = shown_smallest(body)
    red = picture.convert("RGB").getpixel((10, 10))
    green = picture.convert("RGB").getpixel((50, 10))
    assert isinstance(red, tuple)
    assert isinstance(green, tuple)
    assert red[1] > 150 > red[0]
    assert green[0] > 150 > green[1]


def test_transparency_survives_the_profile() -> None:
    clear = Image.new("RGBA", (64, 48), (*pictures.RED, 100))
    body = pictures.encoded(clear, "PNG", icc_profile=pictures.swapped_profile())
    assert_colour(shown_smallest(body).getchannel("A").convert("RGB"), (9, 9), (100, 100, 100))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("profile", [b"broken", pictures.swapped_profile()[:200]])
def test_a_broken_profile_is_ignored(mode: str, profile: bytes) -> None:
    picture = Image.new("RGB", (64, 48), "white").convert(mode)
    small = shown_smallest(pictures.encoded(picture, "JPEG", icc_profile=profile))
    assert_colour(small, (9, 9), (255, 255, 255))


def test_a_profile_for_other_colours_is_ignored() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    body = pictures.encoded(pictures.quarters(), "JPEG", icc_profile=lab, quality=95)
    assert_colour(shown_smallest(body), (10, 10), pictures.RED)
    grey = Image.new("L", (64, 48), 100)
    body = pictures.encoded(grey, "PNG", icc_profile=pictures.swapped_profile())
    assert_colour(shown_smallest(body), (9, 9), (100, 100, 100))


@pytest.mark.parametrize(("size", "effort"), [((2560, 60), THOROUGH), ((2500, 60), QUICK)])
def test_the_encoder_may_take_its_time_where_the_decoder_did(
    size: tuple[int, int], effort: Effort
) -> None:
    """All sides but the smallest are encoded quickly, but from four times the pixels of the largest."""
    largest = fit(*size, 1280)
    picture = pictures.photo(*size).resize(largest, Image.Resampling.LANCZOS, reducing_gap=2.0)
    expected = encode(Planes.of(picture, largest), quality=80, effort=effort)
    assert look(pictures.png(*size)).renditions[-1].body == expected


# --- what renditions leave out


SECRET = "Anna at home"
XMP = f"<x:xmpmeta>{SECRET}</x:xmpmeta>".encode()


def bodies_with_metadata() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = SECRET
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", SECRET)
    picture = pictures.photo(64, 48)
    every = {"exif": exif, "xmp": XMP, "icc_profile": pictures.swapped_profile()}
    return {
        "jpeg": pictures.encoded(picture, "JPEG", comment=SECRET, **every),
        "png": pictures.encoded(picture, "PNG", pnginfo=text, **every),
        "webp": pictures.encoded(picture, "WEBP", **every),
        "avif": pictures.encoded(picture, "AVIF", **every),
        "gif": pictures.encoded(picture, "GIF", comment=SECRET),
    }


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "avif", "gif"])
def test_renditions_carry_no_metadata(name: str) -> None:
    body = bodies_with_metadata()[name]
    assert SECRET.encode() in body
    facts = look(body)
    drawn = [r.body for r in facts.renditions]
    drawn.append(b64decode(facts.placeholder.partition(",")[2]))
    for rendition in drawn:
        for trace in (SECRET.encode(), b"EXIF", b"Exif", b"XMP ", b"xmp", b"ICCP", b"VP8X"):
            assert trace not in rendition


# --- anything at all


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(GOOD)),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=8)), min_size=1, max_size=6),
    kept=st.floats(0.5, 1),
)
def test_whatever_arrives_gets_facts_or_a_verdict(
    name: str, edits: list[tuple[float, bytes]], kept: float
) -> None:
    body = bytearray(GOOD[name])
    for place, replacement in edits:
        start = int(place**2 * len(body))  # headers are where it hurts
        body[start : start + len(replacement)] = replacement
    if kept < 0.9:
        body = body[: int(kept * len(body))]
    try:
        facts = look(bytes(body), replace(LIMITS, max_jpeg_pixels=10**6, max_pixels=10**6))
    except Verdict:
        return
    assert facts.renditions


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_noise_gets_a_verdict(noise: bytes) -> None:
    with pytest.raises(Verdict):
        look(noise)


def test_a_large_file_is_exactly_as_large_as_asked() -> None:
    body = pictures.large(1_000_000)
    assert len(body) == 1_000_000
    assert look(body).width == 64
