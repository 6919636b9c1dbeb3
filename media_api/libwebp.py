"""libwebp, the very one that Pillow has loaded: what `src/webp/decode.h` and `encode.h` declare, by its names.

Where it is not to be found nothing that imports this starts. Pillow could be asked instead, and would
take three times the memory and a third more time without a word.
"""

import ctypes
from ctypes import POINTER, Structure, Union, c_char_p, c_float, c_int, c_size_t, c_uint32, c_void_p

from PIL import _webp

# Another first byte is refused by libwebp; what a later second byte adds stands at the end, or in a `pad`.
WEBP_DECODER_ABI_VERSION, WEBP_ENCODER_ABI_VERSION = 0x0209, 0x020F
VP8_STATUS_OK = 0
MODE_RGBA = 1
WEBP_PRESET_DEFAULT = 0
WEBP_YUV420, WEBP_YUV420A = 0, 4


def _numbers(names: str) -> list[tuple[str, type[c_int]]]:
    return [(name, c_int) for name in names.split()]


# --- decode.h


class WebPBitstreamFeatures(Structure):
    _fields_ = [
        *_numbers("width height has_alpha has_animation format"),
        ("pad", c_uint32 * 5),
    ]


class WebPRGBABuffer(Structure):
    _fields_ = [("rgba", c_void_p), *_numbers("stride"), ("size", c_size_t)]


class WebPYUVABuffer(Structure):
    _fields_ = [("planes", c_void_p * 4), ("strides", c_int * 4), ("sizes", c_size_t * 4)]


class _Buffer(Union):
    _fields_ = [("RGBA", WebPRGBABuffer), ("YUVA", WebPYUVABuffer)]


class WebPDecBuffer(Structure):
    _fields_ = [
        *_numbers("colorspace width height is_external_memory"),
        ("u", _Buffer),
        ("pad", c_uint32 * 4),
        ("private_memory", c_void_p),
    ]


class WebPDecoderOptions(Structure):
    _fields_ = [
        *_numbers("bypass_filtering no_fancy_upsampling"),
        *_numbers("use_cropping crop_left crop_top crop_width crop_height"),
        *_numbers("use_scaling scaled_width scaled_height use_threads"),
        *_numbers("dithering_strength flip alpha_dithering_strength"),
        ("pad", c_uint32 * 5),
    ]


class WebPDecoderConfig(Structure):
    _fields_ = [
        ("input", WebPBitstreamFeatures),
        ("output", WebPDecBuffer),
        ("options", WebPDecoderOptions),
    ]


# --- encode.h


class WebPConfig(Structure):
    _fields_ = [
        *_numbers("lossless"),
        ("quality", c_float),
        *_numbers("method image_hint target_size"),
        ("target_PSNR", c_float),
        *_numbers("segments sns_strength"),
        *_numbers("filter_strength filter_sharpness filter_type autofilter"),
        *_numbers("alpha_compression alpha_filtering alpha_quality passes show_compressed"),
        *_numbers("preprocessing partitions partition_limit emulate_jpeg_size"),
        *_numbers("thread_level low_memory near_lossless exact use_delta_palette"),
        *_numbers("use_sharp_yuv qmin qmax"),
        ("pad", c_uint32 * 8),
    ]


class WebPPicture(Structure):
    _fields_ = [
        *_numbers("use_argb colorspace width height"),
        *((plane, c_void_p) for plane in "yuv"),
        *_numbers("y_stride uv_stride"),
        ("a", c_void_p),
        *_numbers("a_stride"),
        ("pad1", c_uint32 * 2),
        ("argb", c_void_p),
        *_numbers("argb_stride"),
        ("pad2", c_uint32 * 3),
        ("writer", c_void_p),
        ("custom_ptr", c_void_p),
        *_numbers("extra_info_type"),
        ("extra_info", c_void_p),
        ("stats", c_void_p),
        *_numbers("error_code"),
        ("progress_hook", c_void_p),
        ("user_data", c_void_p),
        ("pad3", c_uint32 * 3),
        ("pad4_and_5", c_void_p * 2),
        ("pad6", c_uint32 * 8),
        ("memory", c_void_p * 2),
        ("pad7", c_void_p * 2),
    ]


class WebPMemoryWriter(Structure):
    _fields_ = [("mem", c_void_p), ("size", c_size_t), ("max_size", c_size_t), ("pad", c_uint32)]


# --- both

_library = ctypes.CDLL(
    _webp.__file__
)  # a module of Pillow's: what it has not is looked for in its libraries
WebPInitDecoderConfigInternal = _library.WebPInitDecoderConfigInternal
WebPInitDecoderConfigInternal.argtypes = [POINTER(WebPDecoderConfig), c_int]
WebPDecode = _library.WebPDecode
WebPDecode.argtypes = [c_char_p, c_size_t, POINTER(WebPDecoderConfig)]
WebPConfigInitInternal = _library.WebPConfigInitInternal
WebPConfigInitInternal.argtypes = [POINTER(WebPConfig), c_int, c_float, c_int]
WebPPictureInitInternal = _library.WebPPictureInitInternal
WebPPictureInitInternal.argtypes = [POINTER(WebPPicture), c_int]
WebPEncode = _library.WebPEncode
WebPEncode.argtypes = [POINTER(WebPConfig), POINTER(WebPPicture)]
WebPMemoryWrite = _library.WebPMemoryWrite
WebPMemoryWriterClear = _library.WebPMemoryWriterClear
WebPMemoryWriterClear.argtypes = [POINTER(WebPMemoryWriter)]


def decoder_config() -> WebPDecoderConfig:
    config = WebPDecoderConfig()
    if not WebPInitDecoderConfigInternal(config, WEBP_DECODER_ABI_VERSION):
        raise ImportError("Pillow's libwebp has another decoder than this one.")
    return config


def encoder_config(quality: float) -> WebPConfig:
    config = WebPConfig()
    if not WebPConfigInitInternal(config, WEBP_PRESET_DEFAULT, quality, WEBP_ENCODER_ABI_VERSION):
        raise ImportError("Pillow's libwebp has another encoder than this one.")
    return config


def picture() -> WebPPicture:
    made = WebPPicture()
    WebPPictureInitInternal(made, WEBP_ENCODER_ABI_VERSION)
    return made
