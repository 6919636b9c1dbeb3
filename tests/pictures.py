"""Tiny pictures made in code: the same arguments give the same bytes."""

import struct
import zlib
from io import BytesIO
from random import Random
from typing import Any

from PIL import ExifTags, Image, ImageCms

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 40), (30, 40, 220), (250, 250, 250)


def photo(width: int, height: int, *, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Soft random colours with some grain, which compress about as a photograph does."""
    random = Random(seed)
    bands = Image.getmodebands(mode)
    coarse = Image.frombytes(mode, (8, 6), random.randbytes(48 * bands))
    grain = Image.frombytes(mode, (64, 64), random.randbytes(4096 * bands))
    soft = coarse.resize((width, height), Image.Resampling.BICUBIC)
    return Image.blend(soft, grain.resize((width, height)), 0.1)


def quarters(width: int = 64, height: int = 48) -> Image.Image:
    """Red, green / blue, white: shows how a picture was turned, and what became of its colours."""
    picture = Image.new("RGB", (2, 2))
    picture.putdata([RED, GREEN, BLUE, WHITE])
    return picture.resize((width, height), Image.Resampling.NEAREST)


def encoded(picture: Image.Image, format: str, **options: Any) -> bytes:
    body = BytesIO()
    picture.save(body, format, **options)
    return body.getvalue()


def jpeg(width: int = 64, height: int = 48, *, seed: int = 0, **options: Any) -> bytes:
    return encoded(photo(width, height, seed=seed), "JPEG", **options)


def png(width: int = 64, height: int = 48, *, seed: int = 0, **options: Any) -> bytes:
    return encoded(photo(width, height, seed=seed), "PNG", **options)


def webp(width: int = 64, height: int = 48, *, seed: int = 0, **options: Any) -> bytes:
    return encoded(photo(width, height, seed=seed), "WEBP", **options)


def avif(width: int = 64, height: int = 48, *, seed: int = 0, **options: Any) -> bytes:
    return encoded(photo(width, height, seed=seed), "AVIF", speed=10, max_threads=1, **options)


def gif(width: int = 64, height: int = 48, *, seed: int = 0, frames: int = 1) -> bytes:
    return animation("GIF", width, height, seed=seed, frames=frames)


def animation(
    format: str, width: int = 64, height: int = 48, *, seed: int = 0, frames: int = 3
) -> bytes:
    """A GIF, PNG, WEBP or AVIF of so many frames."""
    first, *others = (photo(width, height, seed=seed + number) for number in range(frames))
    return encoded(first, format, save_all=True, append_images=others, duration=100)


def rotated_jpeg(orientation: int, width: int = 64, height: int = 48) -> bytes:
    """The quarters, stored so that this EXIF orientation turns them upright at width x height."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    picture = quarters(width, height)
    if orientation in undo:
        picture = picture.transpose(undo[orientation])
    return encoded(picture, "JPEG", exif=exif, quality=95)


def truncated(body: bytes) -> bytes:
    """The first two thirds, as a cut transfer leaves them."""
    return body[: len(body) * 2 // 3]


def large(size: int, *, seed: int = 0) -> bytes:
    """A good PNG of exactly `size` bytes: most of them lie in a chunk that no reader knows."""
    body = png(seed=seed)
    padding = Random(seed).randbytes(size - len(body) - 12)
    return body[:33] + chunk(b"shOe", padding) + body[33:]


def chunk(name: bytes, body: bytes) -> bytes:
    """One chunk of a PNG, with its length and checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_scans(count: int) -> bytes:
    """A progressive JPEG that repeats its last scan until it has `count` of them."""
    body = jpeg(progressive=True)
    *others, last = body.removesuffix(b"\xff\xd9").split(b"\xff\xda")
    repeated = [last] * (count - len(others) + 1)
    return b"\xff\xda".join(others + repeated) + b"\xff\xd9"


def swapped_profile() -> bytes:
    """An ICC profile that is sRGB but for its red, which is green, and its green, which is red."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
