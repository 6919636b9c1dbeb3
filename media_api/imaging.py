"""A picture in memory: bytes come in, facts and renditions go out, or a verdict says why not.

A file is recognised by its own bytes and its container is walked (`containers`), so that a bomb is
refused before a decoder has allocated anything. One decode follows, at a reduced scale where JPEG
can. What comes out is shrunk to the largest rendition, brought to sRGB, turned upright, and stepped
down from there: nothing of the original reaches a rendition but its pixels.

Pure: no Django, no network, plain values in and out, so that it can run in a sandboxed child.
Decoders are called by class, not through `Image.open`, which tries others than those that are
allowed and takes a phone's JPEG for an album of several.
"""

import re
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from math import prod
from typing import BinaryIO

from PIL import AvifImagePlugin, ExifTags, Image, ImageCms, _imaging, features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from . import containers, stripping, stripping_avif, webp
from .containers import Outline
from .exceptions import (
    Empty,
    NotAnImage,
    TooComplex,
    TooManyFrames,
    TooManyPixels,
    Truncated,
    Verdict,
)
from .planes import Planes
from .sides import SIDES, fit, rendition_sides
from .stripping import Cut
from .webp import QUICK, THOROUGH, Effort

PLACEHOLDER_SIDE = 16
REDUCED = (2 * SIDES[-1]) ** 2  # pixels of a JPEG at its reduced scale, at most
Drawing = Image.Image | Planes  # the first where it is transparent
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the sandbox allows no threads
Image.MAX_IMAGE_PIXELS = None  # `Limits` are checked here, for each format its own


@dataclass(frozen=True)
class Limits:
    """The most that is taken: pixels of a JPEG, of any other frame, of an animation, and so on."""

    max_jpeg_pixels: int
    max_pixels: int
    max_frames: int
    max_animation_pixels: int
    max_scans: int


@dataclass(frozen=True)
class Rendition:
    """A WebP whose longest side is `side` pixels, or less where the picture itself has less."""

    side: int
    width: int
    height: int
    body: bytes


@dataclass(frozen=True)
class Facts:
    """What the bytes are; width and height of the upright picture, its placeholder as data: URI.

    `cuts` leave the same picture without metadata; there are none when it carries none.
    """

    content_type: str
    extension: str
    width: int
    height: int
    frames: int
    placeholder: str
    renditions: tuple[Rendition, ...]
    cuts: tuple[Cut, ...]


def examine(file: BinaryIO, *, limits: Limits) -> Facts:
    """Say what a picture is and draw its renditions, from one decode of its first frame.

    Raises only a Verdict on the bytes: Empty, NotAnImage, Truncated, or one of the limits.
    """
    with warnings.catch_warnings(action="ignore"):  # what a decoder warns of is judged here
        try:
            return _examine(file, limits)
        except MemoryError as error:
            raise TooComplex from error


def versions() -> dict[str, str]:
    """Of the libraries that decode, by the names that Pillow has for them; "" of one that it does not tell."""
    names = ("pil", "libjpeg_turbo", "zlib", "webp", "avif", "littlecms2")
    return {name: features.version(name) or "" for name in names}


def warm_up() -> None:
    """Load all that decoders load when they first need it: in the sandbox they find no file."""
    for encoding in ("ascii", "latin-1", "utf-8", "utf-16", "utf-16-be", "utf-16-le"):
        "".encode(encoding)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image._initialized = 2  # else the first save() loads the parsers of formats that are not taken
    for kind in KINDS:
        picture, body = Image.new("RGB", (32, 16)), BytesIO()
        options = {} if kind is GIF else {"exif": exif, "icc_profile": SRGB.tobytes()}
        picture.save(body, kind.content_type.removeprefix("image/").upper(), **options)
        examine(body, limits=Limits(1000, 1000, 1, 1000, 100))
    _unload_the_rest()


def _unload_the_rest() -> None:
    """Leave Pillow its five formats and their decoders. EXIF is read by TIFF's module, as no format."""
    taken = {kind.content_type.removeprefix("image/").upper() for kind in KINDS}
    for format in set(Image.OPEN) - taken:
        Image.ID.remove(format)
        del Image.OPEN[format]
    Image.DECODERS.clear()
    for name in dir(_imaging):
        if name.endswith("_decoder") and name not in DECODERS:
            delattr(_imaging, name)


def _examine(file: BinaryIO, limits: Limits) -> Facts:
    kind, outline = _recognise(file)
    _refuse_beyond(limits, kind, outline)
    if not outline.whole:
        raise Truncated
    _reserve(kind, outline)
    picture, outline = _open(file, kind, outline)
    _refuse_beyond(limits, kind, outline)
    drawing, width, height, orientation = _decode(picture)
    thorough = _thorough_up_to(picture, drawing)
    del picture  # before anything is encoded: it may be the largest of all that is here
    steps = _steps(drawing, width, height)
    return Facts(
        content_type=kind.content_type,
        extension=kind.extension,
        width=width,
        height=height,
        frames=outline.frames,
        placeholder=_placeholder(steps[min(steps)]),
        renditions=tuple(
            _rendition(side, step, THOROUGH if side <= thorough else QUICK)
            for side, step in sorted(steps.items())
        ),
        cuts=_cuts(file, kind, orientation),
    )


@dataclass(frozen=True)
class Kind:
    """A format that is taken: how its files begin (a pattern), what walks, decodes and strips them."""

    content_type: str
    extension: str
    beginning: bytes
    outline: Callable[[bytes], Outline]
    decoder: Callable[[BinaryIO], ImageFile]
    cuts: Callable[[bytes, int], Iterator[Cut]]


def _avif(file: BinaryIO) -> ImageFile:
    """Open an AVIF. libavif refuses it for a broken EXIF block, so then it is not shown that.

    What XMP says of its orientation does not count (MIAF: only `irot` and `imir` do).
    """
    try:
        picture = AvifImageFile(file)
    except ValueError:
        file.seek(0)
        picture = AvifImageFile(BytesIO(file.read().replace(b"Exif", b"none")))
    picture.info.pop("xmp", None)
    return picture


JPEG = Kind("image/jpeg", "jpg", rb"\xff\xd8\xff", containers.jpeg, JpegImageFile, stripping.jpeg)
PNG = Kind(
    "image/png",
    "png",
    rb"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    containers.png,
    PngImageFile,
    stripping.png,
)
WEBP = Kind("image/webp", "webp", rb"RIFF....WEBP", containers.webp, webp.WebPFile, stripping.webp)
GIF = Kind("image/gif", "gif", rb"GIF8[79]a", containers.gif, GifImageFile, stripping.gif)
AVIF = Kind(
    "image/avif",
    "avif",
    rb"....ftyp(....){0,30}?avi[fs]",
    containers.avif,
    _avif,
    stripping_avif.avif,
)
KINDS = (JPEG, PNG, WEBP, GIF, AVIF)
DECODERS = ("jpeg_decoder", "zip_decoder", "gif_decoder", "raw_decoder")  # the last of pixels


def _recognise(file: BinaryIO) -> tuple[Kind, Outline]:
    file.seek(0)
    content = file.read()
    if not content:
        raise Empty
    for kind in KINDS:
        if re.match(kind.beginning, content, re.DOTALL):
            return kind, kind.outline(content)
    raise NotAnImage


def _refuse_beyond(limits: Limits, kind: Kind, outline: Outline) -> None:
    pixels = outline.width * outline.height
    if pixels > (limits.max_jpeg_pixels if kind is JPEG else limits.max_pixels):
        raise TooManyPixels
    if outline.frames > limits.max_frames:
        raise TooManyFrames
    if outline.frames > 1 and outline.frames * pixels > limits.max_animation_pixels:
        raise TooManyFrames
    if outline.scans > limits.max_scans:
        raise TooComplex


def _reserve(kind: Kind, outline: Outline) -> None:
    """MemoryError where a library would not get what it needs at its peak: it would call that damage.

    Of a WebP there are two canvases before it is known to be still, and AVIF comes to three, with 10
    bits and alpha. Between scans libjpeg holds two bytes for each colour of a pixel, beside the
    reduced picture.
    """
    pixels = outline.width * outline.height
    needed = {WEBP: 8, AVIF: 12}.get(kind, 0) * pixels
    if outline.scans > 1:
        needed = 2 * outline.colours * pixels + 4 * min(pixels, REDUCED)
    bytes(needed)  # never touched, so this takes no time


@contextmanager
def _otherwise(verdict: type[Verdict]) -> Iterator[None]:
    """Take whatever a decoder raises as this verdict on the bytes."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise verdict from error


def _open(file: BinaryIO, kind: Kind, outline: Outline) -> tuple[ImageFile, Outline]:
    """Let the decoder read the header; believe its size, and its count of an AVIF's frames."""
    with _otherwise(NotAnImage):
        file.seek(0)
        picture = kind.decoder(file)
    frames = picture.n_frames if isinstance(picture, AvifImageFile) else outline.frames
    return picture, replace(outline, width=picture.width, height=picture.height, frames=frames)


def _decode(picture: ImageFile) -> tuple[Drawing, int, int, int]:
    """The first frame, upright, in sRGB, no larger than its largest rendition; its full size; how it was turned.

    Shrinking comes first, so that whatever follows costs as little as a rendition does.
    """
    width, height = picture.size
    largest = fit(width, height, rendition_sides(width, height)[-1])
    profile = picture.info.get("icc_profile")
    with _otherwise(Truncated):
        picture.draft("YCbCr" if not profile and _is_ycbcr(picture) else None, largest)
        picture.load()
        small: Image.Image = picture
        if picture.mode != "YCbCr":
            small = _to_srgb(_shrink(_resizable(picture), largest), profile)
    orientation = _orientation(picture)
    if orientation in UPRIGHT:
        small = small.transpose(UPRIGHT[orientation])
    if orientation in SIDEWAYS:
        width, height, largest = height, width, largest[::-1]
    drawing = small if small.mode == "RGBA" else Planes.of(small, largest)
    return drawing, width, height, orientation


def _is_ycbcr(picture: ImageFile) -> bool:
    """Whether a JPEG has its colours so. If not, libjpeg cannot give them so (jdapimin.c, jdcolor.c)."""
    if not isinstance(picture, JpegImageFile):
        return False
    names = bytes(name for name, *_ in picture.layer)
    return names != b"RGB" and picture.info.get("adobe_transform") != 0


def _resizable(picture: Image.Image) -> Image.Image:
    """The picture in a mode that can be resampled; itself where it is, since a copy is large."""
    if picture.mode == "I;16":
        picture = _eight_bits(picture)
    if picture.mode in ("L", "LA", "RGB", "RGBA", "CMYK") and "transparency" not in picture.info:
        return picture
    grey = picture.mode in ("1", "L")
    if picture.has_transparency_data:
        return picture.convert("LA" if grey else "RGBA")
    return picture.convert("L" if grey else "RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """The upper eight bits of sixteen; Pillow's own conversion would clip to 255 instead."""
    grey = picture.point(lambda level: level * (1 / 256)).convert("L")
    if "transparency" in picture.info:
        grey.info["transparency"] = picture.info["transparency"] >> 8
    return grey


def _shrink(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture as RGB or RGBA, its colours as the embedded profile means them."""
    if not profile and picture.mode in ("RGB", "RGBA"):
        return picture
    alpha = picture.getchannel("A") if picture.mode in ("LA", "RGBA") else None
    colours = picture.convert(picture.mode.removesuffix("A"))
    colours = _by_profile(colours, profile) or colours.convert("RGB")
    if alpha:
        colours.putalpha(alpha)
    return colours


def _by_profile(colours: Image.Image, profile: bytes | None) -> Image.Image | None:
    """None without a profile, or with one that is broken or for another kind of colours."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile or b""))
        return ImageCms.buildTransform(source, SRGB, colours.mode, "RGB").apply(colours)
    except (ImageCms.PyCMSError, OSError):
        return None


# What turns a stored picture upright, by its orientation (Exif 2.32, tag 0112).
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)


def _orientation(picture: Image.Image) -> int:
    """1 (upright) when the EXIF block is missing or broken: its damage is none of the picture's."""
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1


def _cuts(file: BinaryIO, kind: Kind, orientation: int) -> tuple[Cut, ...]:
    file.seek(0)
    content = file.read()
    with _otherwise(NotAnImage):
        cuts = stripping.settled(content, kind.cuts(content, orientation))
    if len(cuts) > stripping.MAX_CUTS:
        raise TooComplex
    return tuple(cuts)


def _steps(drawing: Drawing, width: int, height: int) -> dict[int, Drawing]:
    """By their sides, from the largest down, each made from the one before."""
    *smaller, largest = rendition_sides(width, height)
    steps = {largest: drawing}
    for side in reversed(smaller):
        steps[side] = drawing = _smaller(drawing, fit(width, height, side))
    return steps


def _smaller(drawing: Drawing, size: tuple[int, int]) -> Drawing:
    return drawing.shrunk(size) if isinstance(drawing, Planes) else _shrink(drawing, size)


def _thorough_up_to(picture: Image.Image, drawing: Drawing) -> int:
    """The largest side that the encoder may take its time for: any, where the decoder had to take more."""
    return SIDES[-1] if prod(picture.size) >= 4 * prod(drawing.size) else SIDES[0]


def _rendition(side: int, drawing: Drawing, effort: Effort) -> Rendition:
    return Rendition(side, *drawing.size, body=_webp(drawing, quality=80, effort=effort))


def _placeholder(drawing: Drawing) -> str:
    tiny = _smaller(drawing, fit(*drawing.size, PLACEHOLDER_SIDE))
    return "data:image/webp;base64," + b64encode(_webp(tiny, quality=40, effort=QUICK)).decode()


def _webp(drawing: Drawing, *, quality: int, effort: Effort) -> bytes:
    planes = drawing if isinstance(drawing, Planes) else Planes.of(drawing, drawing.size)
    return webp.encode(planes, quality=quality, effort=effort)
