"""WebP for Pillow, whose own decoder takes each for an animation: two canvases and a copy, 12 bytes a pixel.

A still picture goes to libwebp's plain decoder instead, in the very library that Pillow has loaded:
4 bytes a pixel, and fewer at a reduced scale. Where that library is not to be found, nothing that
imports this starts, rather than take three times the memory and say nothing.
"""

import ctypes
from ctypes import c_char, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from typing import IO, Any, cast

from PIL import _imaging, _webp
from PIL.ImageFile import ImageFile
from PIL.WebPImagePlugin import WebPImageFile

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
    config = DecoderConfig()
    _libwebp.WebPInitDecoderConfigInternal(config, ABI_VERSION)
    options, output = config.options, config.output
    options.use_scaling, options.scaled_width, options.scaled_height = reduced, width, height
    output.colorspace, output.is_external_memory = MODE_RGBA, True
    output.buffer.rgba = ctypes.addressof(c_char.from_buffer(pixels))
    output.buffer.stride, output.buffer.size = 4 * width, len(pixels)
    status = _libwebp.WebPDecode(body, len(body), config)
    if status != VP8_STATUS_OK:
        raise ValueError(f"WebPDecode: {status}")


# --- libwebp: what its src/webp/decode.h declares, by its names

ABI_VERSION = 0x0209  # WEBP_DECODER_ABI_VERSION; those of another first byte are refused by libwebp
MODE_RGBA = 1
VP8_STATUS_OK = 0


def _numbers(names: str) -> list[tuple[str, type[c_int]]]:
    return [(name, c_int) for name in names.split()]


class BitstreamFeatures(ctypes.Structure):
    _fields_ = [
        *_numbers("width height has_alpha has_animation format"),
        ("pad", c_uint32 * 5),
    ]


class RGBABuffer(ctypes.Structure):
    _fields_ = [("rgba", c_void_p), *_numbers("stride"), ("size", c_size_t)]


class YUVABuffer(ctypes.Structure):
    """Not used; the largest of the union, by which it has its size."""

    _fields_ = [("planes", c_void_p * 4), ("strides", c_int * 4), ("sizes", c_size_t * 4)]


class Buffer(ctypes.Union):
    _anonymous_ = ["RGBA"]
    _fields_ = [("RGBA", RGBABuffer), ("YUVA", YUVABuffer)]


class DecBuffer(ctypes.Structure):
    _fields_ = [
        *_numbers("colorspace width height is_external_memory"),
        ("buffer", Buffer),
        ("pad", c_uint32 * 4),
        ("private_memory", c_void_p),
    ]


class DecoderOptions(ctypes.Structure):
    _fields_ = [
        *_numbers("bypass_filtering no_fancy_upsampling"),
        *_numbers("use_cropping crop_left crop_top crop_width crop_height"),
        *_numbers("use_scaling scaled_width scaled_height use_threads"),
        *_numbers("dithering_strength flip alpha_dithering_strength"),
        ("pad", c_uint32 * 5),
    ]


class DecoderConfig(ctypes.Structure):
    _fields_ = [
        ("input", BitstreamFeatures),
        ("output", DecBuffer),
        ("options", DecoderOptions),
    ]


_libwebp = ctypes.CDLL(
    _webp.__file__
)  # what is asked of Pillow's module is looked for in libwebp too
_libwebp.WebPInitDecoderConfigInternal.argtypes = [ctypes.POINTER(DecoderConfig), c_int]
_libwebp.WebPDecode.argtypes = [c_char_p, c_size_t, ctypes.POINTER(DecoderConfig)]
if not _libwebp.WebPInitDecoderConfigInternal(DecoderConfig(), ABI_VERSION):
    raise ImportError("Pillow's libwebp is not of the kind that media_api.webp knows.")
