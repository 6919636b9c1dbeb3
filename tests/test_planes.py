"""A picture in planes of light and colour shows what it showed, at any size."""

from io import BytesIO

import pytest
from PIL import Image, ImageChops, ImageStat

from media_api.planes import Planes
from media_api.webp import QUICK, THOROUGH, Effort, encode

from . import pictures

SIZES = [(64, 48), (63, 47), (50, 1), (1, 50), (2, 3), (1, 1)]


def shown(planes: Planes, effort: Effort = THOROUGH) -> Image.Image:
    return Image.open(BytesIO(encode(planes, quality=100, effort=effort)), formats=["WEBP"])


def difference(one: Image.Image, other: Image.Image) -> float:
    """The largest mean of a band."""
    assert (one.mode, one.size) == (other.mode, other.size)
    return max(ImageStat.Stat(ImageChops.difference(one, other)).mean)


def soft(width: int, height: int) -> Image.Image:
    """Of few colours, since small pictures have hardly a place for them."""
    picture = pictures.photo(8, 6).resize((width, height), Image.Resampling.BICUBIC)
    return Image.blend(picture, Image.new("RGB", picture.size, "grey"), 0.8)


@pytest.mark.parametrize("effort", [QUICK, THOROUGH])
@pytest.mark.parametrize("size", SIZES)
def test_planes_show_the_picture_that_they_are_of(size: tuple[int, int], effort: Effort) -> None:
    picture = soft(640, 480).resize(size)
    for given in (picture, picture.convert("YCbCr")):
        planes = Planes.of(given, size)
        assert planes.size == size
        assert difference(shown(planes, effort), picture) < 6


@pytest.mark.parametrize("colour", [pictures.RED, pictures.GREEN, (0, 0, 0), (255, 255, 255)])
def test_a_colour_stays_what_it_is(colour: tuple[int, int, int]) -> None:
    picture = Image.new("RGB", (63, 47), colour)
    assert difference(shown(Planes.of(picture, picture.size)), picture) < 3


@pytest.mark.parametrize("size", SIZES)
def test_planes_shrink_as_the_picture_does(size: tuple[int, int]) -> None:
    """The colours of whichever size were there before, those of a picture or half of them."""
    picture = soft(257, 193)
    best = picture.resize(size, Image.Resampling.LANCZOS)
    assert difference(shown(Planes.of(picture, size)), best) < 6
    assert difference(shown(Planes.of(picture, picture.size).shrunk(size)), best) < 6


@pytest.mark.parametrize("size", SIZES)
def test_transparency_is_kept(size: tuple[int, int]) -> None:
    picture = pictures.photo(*size, mode="RGBA")
    copy = shown(Planes.of(picture, size))
    assert copy.getchannel("A").tobytes() == picture.getchannel("A").tobytes()


def test_who_is_opaque_stays_so() -> None:
    picture = soft(64, 48)
    picture.putalpha(255)
    assert shown(Planes.of(picture, picture.size)).mode == "RGB"
