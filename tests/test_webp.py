"""A still WebP is decoded without Pillow's canvases, and looks as with them."""

from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat
from PIL.WebPImagePlugin import WebPImageFile

from media_api.webp import WebPFile

from . import pictures
from .bombs.webp import animated, anmf, riff, riff_chunk

PROFILE = pictures.swapped_profile()


def shown(body: bytes, *, at_least: tuple[int, int] | None = None) -> Image.Image:
    picture = WebPFile(BytesIO(body))
    picture.draft(None, at_least)
    picture.load()
    return picture


def webp(mode: str, width: int, height: int, **options: Any) -> bytes:
    return pictures.encoded(pictures.photo(width, height, mode=mode), "WEBP", **options)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("size", [(64, 48), (63, 47), (1, 1), (1, 50), (50, 1)])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"icc_profile": PROFILE}])
def test_a_still_picture_is_what_pillow_makes_of_it(
    mode: str, size: tuple[int, int], options: dict[str, Any]
) -> None:
    body = webp(mode, *size, **options)
    ours, theirs = shown(body), WebPImageFile(BytesIO(body))
    assert (ours.mode, ours.size) == (theirs.mode, theirs.size) == (mode, size)
    assert ours.tobytes() == theirs.tobytes()
    assert ours.info.get("icc_profile") == options.get("icc_profile")


@pytest.mark.parametrize("frames", [1, 2])
def test_of_an_animation_the_first_frame_is_shown(frames: int) -> None:
    body = animated(64, 48, *[anmf(64, 48)] * frames)
    with Image.open(BytesIO(pictures.webp())) as still:
        assert shown(body).tobytes() == still.tobytes()


@pytest.mark.parametrize("options", [{}, {"lossless": True}])
@pytest.mark.parametrize(
    ("at_least", "size"),
    [
        ((200, 140), (401, 281)),
        ((201, 140), (801, 561)),
        ((100, 70), (201, 141)),
        ((2, 1), (5, 3)),
        ((801, 561), (801, 561)),
    ],
)
def test_a_large_one_is_decoded_at_a_whole_fraction(
    options: dict[str, Any], at_least: tuple[int, int], size: tuple[int, int]
) -> None:
    body = webp("RGB", 801, 561, **options)
    small = shown(body, at_least=at_least)
    assert small.size == size
    best = shown(body).resize(size, Image.Resampling.BOX)
    assert max(ImageStat.Stat(ImageChops.difference(small, best)).mean) < 4


def test_a_transparent_one_is_decoded_whole() -> None:
    """Reduced, the red that nobody sees would be seen at the edges of the green."""
    picture = Image.new("RGBA", (801, 561), (*pictures.RED, 0))
    picture.paste((*pictures.GREEN, 255), (0, 0, 401, 561))
    body = pictures.encoded(picture, "WEBP", exact=True)
    assert shown(body, at_least=(100, 70)).size == (801, 561)


@pytest.mark.parametrize("at_least", [None, (64, 48)])
@pytest.mark.parametrize("options", [{}, {"lossless": True}])
def test_image_data_that_ends_early_is_not_shown(
    options: dict[str, Any], at_least: tuple[int, int] | None
) -> None:
    """All lengths in the file are right: it is for the decoder to notice."""
    body = webp("RGB", 640, 480, **options)
    cut = riff(riff_chunk(body[12:16], body[20 : len(body) * 2 // 3]))
    with pytest.raises(ValueError, match="WebPDecode: "):
        shown(cut, at_least=at_least)
