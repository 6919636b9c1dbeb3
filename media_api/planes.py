"""A picture as WebP has it: its light, and two differences of colour in half the width and height.

A JPEG has it so as well. So nothing is converted on the way from one to the other, and what is done
to it in between costs half of what it costs with three colours of full size.
"""

from dataclasses import dataclass

from PIL import Image

Size = tuple[int, int]


@dataclass(frozen=True)
class Planes:
    """Levels from 0 to 255, of the differences around 128 (JFIF); alpha, if there is any, as large as the light."""

    light: Image.Image
    blue: Image.Image
    red: Image.Image
    alpha: Image.Image | None = None

    @classmethod
    def of(cls, picture: Image.Image, size: Size) -> "Planes":
        """A picture in YCbCr or RGB brought down to this size, or one in RGBA that has it."""
        alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
        if picture.mode != "YCbCr":
            picture = picture.convert("RGB").convert("YCbCr")
        return cls(
            _light(picture.getchannel("Y"), size),
            _difference(picture.getchannel("Cb"), size),
            _difference(picture.getchannel("Cr"), size),
            alpha,
        )

    @property
    def size(self) -> Size:
        return self.light.size

    def shrunk(self, size: Size) -> "Planes":
        """Of a picture without alpha."""
        return Planes(
            _light(self.light, size), _difference(self.blue, size), _difference(self.red, size)
        )


def half(size: Size) -> Size:
    """Rounded up: in a last column or row that is odd, two pixels share a difference, not four."""
    return -(-size[0] // 2), -(-size[1] // 2)


def _light(plane: Image.Image, size: Size) -> Image.Image:
    return plane.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _difference(plane: Image.Image, size: Size) -> Image.Image:
    """With less care than the light, as eyes look."""
    if plane.size == size:
        return plane.reduce(2)
    return plane.resize(half(size), Image.Resampling.BICUBIC, reducing_gap=1.0)
