"""WebP, read and written through libwebp itself, since Pillow takes each for an animation of RGBA.

To read a still picture Pillow holds two canvases and a copy, 12 bytes a pixel; here it is 4, and fewer
at a reduced scale. To write one it copies its pixels to convert them; here they are planes already,
and what the encoder may do is said in full.
"""

import ctypes
from ctypes import c_char
from dataclasses import dataclass
from typing import IO, Any, cast

from PIL import _imaging
from PIL.ImageFile import ImageFile
from PIL.WebPImagePlugin import WebPImageFile

from . import libwebp
from .planes import Planes, half

GAP = 2.0  # how much larger than asked for a reduced picture stays: Pillow's `reducing_gap`
ANIMATION = 0x02  # a flag in VP8X (RFC 9649, 2.7)


class WebPFile(WebPImageFile):
    """A WebP whose first frame is looked at."""

    def _open(self) -> None:
        super()._open()
        head = self._from_start(21)
        self.is_still = not (head.startswith(b"VP8X", 12) and head[20] & ANIMATION)
        self.whole, self.factor = self.width * self.height, 1

    def _from_start(self, size: int = -1) -> bytes:
        file = cast("IO[bytes]", self.fp)
        file.seek(0)
        return file.read(size)

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> None:
        """Have it decoded at a whole fraction of its scale that leaves it GAP times this size, or more.

        A transparent one stays: colours that are not seen would be mixed with those beside them.
        """
        if size and self.is_still and self.mode == "RGB":
            self.factor = int(min(self.width / size[0], self.height / size[1]) / GAP) or 1
            self._size = -(-self.width // self.factor), -(-self.height // self.factor)

    def load(self) -> Any:
        if not self.is_still:
            return super().load()
        if self._im is None:
            del self._decoder  # and its canvases
            content, pixels = self._from_start(), bytearray(4 * self.width * self.height)
            self._reserve()
            decode(content, pixels, *self.size, reduced=self.factor > 1)
            # Pillow's own layout, of RGB too: four bytes a pixel, so nothing is copied.
            self.im = _imaging.map_buffer(pixels, self.size, "raw", 0, (self.mode, 0, 1))
        return ImageFile.load(self)

    def _get_next(self) -> tuple[bytes, int, int]:
        """Of an animation. Two canvases are free when the decoder goes before its frame is copied."""
        self._reserve()
        frame = super()._get_next()
        del self._decoder
        return frame

    def _reserve(self) -> None:
        """MemoryError where libwebp would not get what it needs beside what it fills.

        It would call that damage, as it calls some damage a lack of memory.
        """
        bytes(5 * self.whole)  # never touched, so this takes no time


def decode(body: bytes, pixels: bytearray, width: int, height: int, *, reduced: bool) -> None:
    """Fill in a still picture of this size, or reduced to it: RGBA, its colours not multiplied by its alpha.

    Raises ValueError when it is damaged or not whole.
    """
    config = libwebp.decoder_config()
    options, output = config.options, config.output
    options.use_scaling, options.scaled_width, options.scaled_height = reduced, width, height
    output.colorspace, output.is_external_memory = libwebp.MODE_RGBA, True
    output.u.RGBA.rgba = _address(pixels)
    output.u.RGBA.stride, output.u.RGBA.size = 4 * width, len(pixels)
    status = libwebp.WebPDecode(body, len(body), config)
    if status != libwebp.VP8_STATUS_OK:
        raise ValueError(f"WebPDecode: {status}")


@dataclass(frozen=True)
class Effort:
    """Two of libwebp's settings; its own are 4 and 50."""

    method: int
    sns_strength: int


QUICK = Effort(2, 30)  # this method alone spends 5 % too much where it shapes noise as much as that
THOROUGH = Effort(4, 50)  # as near and 5 % shorter, in 2.5 times the time
FILTER_STRENGTH = 100  # libwebp's own 60 leaves more of the blocks, for as many bytes


def encode(picture: Planes, *, quality: int, effort: Effort) -> bytes:
    """The pixels alone. Raises MemoryError."""
    config = libwebp.encoder_config(quality)
    config.method, config.sns_strength = effort.method, effort.sns_strength
    config.filter_strength = FILTER_STRENGTH
    writer = libwebp.WebPMemoryWriter()
    given = libwebp.picture()
    given.writer = ctypes.cast(libwebp.WebPMemoryWrite, ctypes.c_void_p)
    given.custom_ptr = ctypes.addressof(writer)
    levels = _levels(picture)  # kept to the end: they are not copied
    given.y, given.u, given.v, *alpha = map(_address, levels)
    given.a = alpha[0] if alpha else None
    given.colorspace = libwebp.WEBP_YUV420A if alpha else libwebp.WEBP_YUV420
    given.width, given.height = picture.size
    given.y_stride = given.a_stride = given.width
    given.uv_stride, _ = half(picture.size)
    try:
        if not libwebp.WebPEncode(config, given):
            raise MemoryError  # VP8_ENC_ERROR_OUT_OF_MEMORY; the others cannot be
        return ctypes.string_at(writer.mem, writer.size)
    finally:
        libwebp.WebPMemoryWriterClear(writer)


# From JFIF's range of levels to that of ITU-R BT.601, which is WebP's (RFC 6386, 9.2).
LIGHT = [round(16 + level * 219 / 255) for level in range(256)]
DIFFERENCE = [round(128 + (level - 128) * 224 / 255) for level in range(256)]


def _levels(picture: Planes) -> list[bytearray]:
    """Light, two differences, and alpha if there is any."""
    planes = [
        picture.light.point(LIGHT),
        picture.blue.point(DIFFERENCE),
        picture.red.point(DIFFERENCE),
        *filter(None, [picture.alpha]),
    ]
    return [bytearray(plane.tobytes()) for plane in planes]


def _address(buffer: bytearray) -> int:
    return ctypes.addressof(c_char.from_buffer(buffer))
