"""The copy without metadata: the same picture, and a search of its bytes finds nothing of what the original said.

What is searched for comes from Pillow and from patterns, never from our own walk over the file.
"""

import re
import struct
from base64 import b64decode
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps, PngImagePlugin
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from media_api.exceptions import TooComplex, Verdict
from media_api.imaging import Facts, Limits, examine
from media_api.stripping import CHUNK, MAX_CUTS, MAX_NEW, Cut, settled, write
from media_api.stripping_avif import avif

from . import pictures
from .test_corpus import CORPUS, LIMITS
from .test_imaging import ANIMATED, GOOD

SECRET = b"Anna at 59.33 N"
XMP = b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>"
PROFILE = pictures.swapped_profile()


# --- pictures that say too much


def exif(orientation: int) -> Image.Exif:
    """With a place, words, and a thumbnail at its end."""
    block = Image.Exif()
    block[ExifTags.Base.Orientation] = orientation
    block[ExifTags.Base.ImageDescription] = SECRET.decode()
    block.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAreaInformation] = SECRET
    return block


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def talkative_jpeg(picture: Image.Image, **options: Any) -> bytes:
    """Everything that phones and editors add, and a few things that nobody should."""
    body = pictures.encoded(
        picture, "JPEG", exif=exif(6), xmp=XMP, comment=SECRET, icc_profile=PROFILE, **options
    )
    thumbnail = pictures.jpeg(16, 12)
    added = (
        segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\1\1" + SECRET[:3]),  # another, with a thumbnail
        segment(0xE0, b"JFXX\0\x10" + thumbnail),
        segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + XMP),
        segment(0xE2, b"MPF\0" + SECRET),
        segment(0xEB, b"JP\0\0jumb" + SECRET),
        segment(0xED, b"Photoshop 3.0\0" + SECRET),
        segment(0xFE, SECRET),
        SECRET,  # junk between segments
        b"\xff\xff\xff",
    )
    scan = body.index(b"\xff\xda")
    return body[:scan] + b"".join(added) + body[scan:] + thumbnail + SECRET


def with_large_headers(body: bytes) -> bytes:
    """A JPEG whose JFIF and Adobe segments have a thumbnail and a tail."""
    jfif = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\1\5" + SECRET)
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0" + b"\1" + SECRET)
    return body[:2] + jfif + adobe + body[20:]


def talkative_png(format: str = "PNG", **options: Any) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", SECRET.decode())
    text.add_text("Title", SECRET.decode() * 9, zip=True)
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    picture = pictures.photo(64, 48)
    others = [pictures.photo(64, 48, seed=seed) for seed in (1, 2)]
    options |= {"save_all": True, "append_images": others} if format == "APNG" else {}
    body = pictures.encoded(
        picture, "PNG", pnginfo=text, exif=exif(8), icc_profile=PROFILE, **options
    )
    added = [
        pictures.chunk(b"tIME", b"\x07\xea\x0b\x15\x05\0\0"),
        pictures.chunk(b"sPLT", SECRET + b"\0\x08" + b"\1\2\3\4\0\0"),
        pictures.chunk(b"shOe", SECRET),
        pictures.chunk(b"pHYs", struct.pack(">IIB", 3000, 3000, 1)),
    ]
    end = body.index(b"IEND") - 4
    return body[:33] + b"".join(added) + body[33:end] + added[0] + body[end:] + SECRET


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"".join(
        name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2) for name, body in chunks
    )


def talkative_webp(*, frames: int = 1, **options: Any) -> bytes:
    picture = pictures.photo(64, 48)
    others = [pictures.photo(64, 48, seed=seed) for seed in range(1, frames)]
    options |= {"save_all": True, "append_images": others} if others else {}
    body = pictures.encoded(picture, "WEBP", exif=exif(5), xmp=XMP, icc_profile=PROFILE, **options)
    content = body[12:] + riff((b"shoe", SECRET))
    if others:
        (size,) = struct.unpack_from("<I", content, start := content.index(b"ANMF") + 4)
        end = start + 4 + size
        extra = riff((b"shoe", SECRET))
        content = (
            content[:start]
            + struct.pack("<I", size + len(extra))
            + content[start + 4 : end]
            + extra
            + content[end:]
        )
    return b"RIFF" + struct.pack("<I", len(content) + 4) + b"WEBP" + content + SECRET


def talkative_gif() -> bytes:
    body = pictures.animation("GIF", frames=3)
    image = body.index(b"!\xf9")
    xmp = b"!\xff\x0bXMP DataXMP" + XMP + b"\1" + bytes(range(255, -1, -1)) + b"\0"
    text = b"!\x01\x0c" + bytes(12) + bytes([len(SECRET)]) + SECRET + b"\0"
    comment = b"!\xfe" + bytes([len(SECRET)]) + SECRET + b"\0"
    unknown = b"!\x42" + bytes([len(SECRET)]) + SECRET + b"\0"
    before = comment + xmp + text + unknown + SECRET  # the last is junk
    return body[:image] + before + body[image:-1] + comment + b";" + SECRET


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", len(body) + 8, name) + body


def talkative_avif(*, frames: int = 1) -> bytes:
    picture = pictures.photo(64, 48)
    others = [pictures.photo(64, 48, seed=seed) for seed in range(1, frames)]
    options = {"save_all": True, "append_images": others} if others else {}
    block = exif(1 if others else 6)  # libavif cannot write an animation that is turned
    body = pictures.encoded(
        picture, "AVIF", exif=block, xmp=XMP, icc_profile=PROFILE, speed=10, **options
    )
    return body + box(b"uuid", b"u" * 16, SECRET) + box(b"free", SECRET) + SECRET


CMYK = pictures.photo(64, 48).convert("CMYK")
TALKATIVE = {
    "jpeg": talkative_jpeg(pictures.photo(64, 48)),
    "progressive jpeg": talkative_jpeg(pictures.photo(640, 480), progressive=True),
    "cmyk jpeg": talkative_jpeg(CMYK),
    "jpeg with large headers": with_large_headers(pictures.jpeg()),
    "png": talkative_png(),
    "apng": talkative_png("APNG"),
    "webp": talkative_webp(),
    "lossless webp": talkative_webp(lossless=True),
    "animated webp": talkative_webp(frames=3),
    "gif": talkative_gif(),
    "avif": talkative_avif(),
    "animated avif": talkative_avif(frames=3),
}
KEPT_OF_THE_CORPUS = [] if not CORPUS.is_dir() else sorted(CORPUS.iterdir())


# --- looking at them


def look(body: bytes, limits: Limits = LIMITS) -> Facts:
    return examine(BytesIO(body), limits=limits)


def stripped(body: bytes, facts: Facts | None = None) -> bytes:
    copy = BytesIO()
    write((facts or look(body)).cuts, BytesIO(body), copy)
    return copy.getvalue()


DECODERS: dict[bytes, Callable[[BytesIO], ImageFile]] = {
    b"\xff": JpegImageFile,
    b"\x89": PngImageFile,
    b"R": WebPImageFile,
    b"G": GifImageFile,
    b"\0": AvifImageFile,
}


def opened(body: bytes) -> ImageFile:
    """By Pillow. Not with Image.open, which takes a JPEG for an album."""
    return DECODERS[body[:1]](BytesIO(body))


def decoded(body: bytes) -> list[Any]:
    """All that Pillow shows of a picture: each frame as it is stored and upright, its time, the profile, the loops."""
    with opened(body) as picture:
        shown: list[Any] = [picture.info.get("icc_profile"), picture.info.get("loop")]
        for frame in range(getattr(picture, "n_frames", 1)):
            picture.seek(frame)
            picture.load()
            shown += [picture.mode, picture.tobytes(), picture.info.get("duration")]
            shown += [picture.info.get("transparency"), picture.getpalette()]
        return shown


def assert_the_same_picture(body: bytes) -> None:
    facts = look(body)
    copy = stripped(body, facts)
    again = look(copy)
    assert again.cuts == ()
    assert (again.width, again.height, again.frames) == (facts.width, facts.height, facts.frames)
    assert again.renditions == facts.renditions
    assert again.placeholder == facts.placeholder
    assert decoded(copy) == decoded(body)


def traces(body: bytes) -> set[bytes]:
    """What must not be found elsewhere: the metadata of a file, in pieces of sixteen bytes."""
    said: list[bytes] = []
    with opened(body) as picture:
        said += [picture.info[name] for name in ("exif", "xmp", "comment") if name in picture.info]
        for name, content in getattr(picture, "applist", []):
            if not content.startswith((b"JFIF\0", b"Adobe", b"ICC_PROFILE\0")) or name == "COM":
                said.append(content)
        if picture.format == "PNG":
            picture.load()
            texts: dict[str, str] = getattr(picture, "text", {})
            said += [word.encode("latin-1", "replace") for word in texts.values()]
            for found in re.finditer(rb"(?s)(.{4})(?:tEXt|zTXt|iTXt|eXIf)", body):
                said.append(body[found.end() : found.end() + int.from_bytes(found[1])])
        if picture.format == "GIF":
            for frame in range(getattr(picture, "n_frames", 1)):
                picture.seek(frame)
                said.append(picture.info.get("comment", b""))
    return {
        piece
        for words in map(without_tables, map(as_bytes, said))
        for start in range(0, max(len(words) - 15, 1), 16)
        if len(set(piece := words[start : start + 16])) > 5 and not is_about_turning(piece)
    }


def as_bytes(words: bytes | str) -> bytes:
    return words if isinstance(words, bytes) else words.encode()


def without_tables(words: bytes) -> bytes:
    """But for the head of a thumbnail: most JPEGs have the same tables."""
    return re.sub(rb"(?s)\xff\xd8\xff.*?\xff\xda", b"", words)


def is_about_turning(piece: bytes) -> bool:
    """Whether it stands at the beginning of any EXIF block in this order of bytes."""
    return b"MM\0*\0\0\0\x08" in piece or piece.startswith(b"Exif\0\0")


def drawings(facts: Facts) -> Iterator[bytes]:
    yield from (rendition.body for rendition in facts.renditions)
    yield b64decode(facts.placeholder.partition(",")[2])


def assert_nothing_is_said(body: bytes, words: set[bytes]) -> None:
    facts = look(body)
    copy = stripped(body, facts)
    for drawing in chain(drawings(facts), [copy]):
        assert [word for word in words if word in drawing] == []
        for name in (b"xmpmeta", b"XMP", b"GPS", b"http://ns.adobe.com", b"Photoshop", b"JFXX"):
            assert name not in drawing
    for drawing in drawings(facts):
        for name in (b"Exif", b"EXIF", b"ICCP", b"\xff\xd8\xff"):
            assert name not in drawing
    assert copy.count(b"\xff\xd8\xff") == facts.content_type.endswith("jpeg")


# --- what goes, and what stays


@pytest.mark.parametrize("name", TALKATIVE)
def test_nothing_but_the_picture_is_left(name: str) -> None:
    body = TALKATIVE[name]
    words = traces(body) | {SECRET}
    assert [word for word in words if word in body]
    assert_nothing_is_said(body, words)


@pytest.mark.parametrize("name", TALKATIVE)
def test_the_copy_shows_the_same_picture(name: str) -> None:
    assert_the_same_picture(TALKATIVE[name])


WITH_METADATA = {
    "7x13.png",
    "Landscape_5.jpg",
    "Landscape_8.jpg",
    "Portrait_2.jpg",
    "Portrait_4.jpg",
    "chi.gif",
    "ctzn0g04.png",
    "exif-dpi-zerodivision.jpg",
    "exif_gps.jpg",
    "exif_gps_typeerror.jpg",
    "exif_imagemagick_orientation.png",
    "exif_typeerror.jpg",
    "flower.jpg",
    "hopper.png",
    "hopper_bad_exif.jpg",
    "invalid-exif.jpg",
    "itxt_chunks.png",
    "multiple_comments.gif",
    "pil_sample_cmyk.jpg",
    "sugarshack_no_data.mpo",
    "truncated_exif_dpi.jpg",
    "xmp_padded.jpg",
    "xmp_tags_orientation.png",
}


@pytest.mark.parametrize("path", KEPT_OF_THE_CORPUS, ids=lambda path: path.name)
def test_the_corpus_is_the_same_and_silent(path: Any) -> None:
    body = path.read_bytes()
    try:
        look(body)
    except Verdict:
        return  # tests/test_corpus.py looks at those
    words = traces(body)
    if path.name in WITH_METADATA:
        assert [word for word in words if word in body]
    assert_nothing_is_said(body, words)
    assert_the_same_picture(body)


@pytest.mark.parametrize("name", sorted(GOOD.keys() - {"animated AVIF"}))
def test_a_picture_without_metadata_is_not_cut(name: str) -> None:
    assert look(GOOD[name]).cuts == ()


@pytest.mark.parametrize("format", ANIMATED)
def test_an_animation_keeps_its_frames_and_times(format: str) -> None:
    others = [pictures.photo(64, 48, seed=seed) for seed in (1, 2)]
    body = pictures.encoded(
        pictures.photo(64, 48), format, save_all=True, append_images=others, duration=[40, 80, 120]
    )
    body += SECRET
    assert_nothing_is_said(body, {SECRET})
    assert_the_same_picture(body)


def test_an_animated_avif_does_not_say_when_it_was_made() -> None:
    body = pictures.animation("AVIF")
    for name in (b"mvhd", b"tkhd", b"mdhd"):
        place = body.index(name) + 8
        assert body[place : place + 8].strip(b"\0")
        assert not stripped(body)[place : place + 8].strip(b"\0")


@pytest.mark.parametrize(("orientation", "flags"), [(1, 0b100000), (6, 0b101000)])
def test_a_webp_says_what_is_in_it(orientation: int, flags: int) -> None:
    """The profile, and the EXIF block where one is needed; and how long it is (RFC 9649, 2.7)."""
    copy = stripped(pictures.webp(exif=exif(orientation), xmp=XMP, icc_profile=PROFILE))
    assert copy[12:16] == b"VP8X"
    assert copy[20] == flags
    assert int.from_bytes(copy[4:8], "little") + 8 == len(copy)


# --- upright


def turned_by_exif(orientation: int, format: str) -> bytes:
    return pictures.encoded(pictures.photo(64, 48), format, exif=exif(orientation))


def turned_by_xmp(orientation: int, format: str) -> bytes:
    xmp = b'<x:xmpmeta tiff:Orientation="%d"/>' % orientation
    if format != "PNG":
        return pictures.encoded(pictures.photo(64, 48), format, xmp=xmp)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    return pictures.encoded(pictures.photo(64, 48), format, pnginfo=text)


@pytest.mark.parametrize("turned", [turned_by_exif, turned_by_xmp])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_copy_is_upright(
    turned: Callable[[int, str], bytes], format: str, orientation: int
) -> None:
    body = turned(orientation, format)
    assert_the_same_picture(body)
    copy = stripped(body)
    with opened(copy) as picture:
        by_exif = turned is turned_by_exif
        block = picture.getexif()
        if format != "AVIF":
            assert dict(block) == (
                {ExifTags.Base.Orientation: orientation} if orientation > 1 else {}
            )
        elif by_exif:  # which Pillow writes as irot and imir, and reads as this
            assert block.get(ExifTags.Base.Orientation, 1) == orientation
        else:
            assert dict(block) == {}
        assert ImageOps.exif_transpose(picture).tobytes()
    assert SECRET not in copy


# --- AVIF, byte by byte


def location(item: int, *extents: tuple[int, int], method: int = 0) -> bytes:
    """An entry of `iloc`, version 1, with numbers of four bytes."""
    return struct.pack(">HHHIH", item, method, 0, 0, len(extents)) + b"".join(
        struct.pack(">II", *extent) for extent in extents
    )


def item(number: int, type_: bytes, rest: bytes = b"") -> bytes:
    return box(b"infe", b"\2\0\0\0", struct.pack(">HH", number, 0), type_, rest + b"\0")


def test_every_place_of_an_avif_where_metadata_lie() -> None:
    """Items in `mdat` and in `idat`, in several extents, that share bytes with the picture; a thumbnail; words."""
    ftyp = box(b"ftyp", b"avif\0\0\0\0avifmif1")
    shown, secret, thumbnail = b"the picture's own bytes", b"Anna, seven o'clock", b"Anna in small"
    mdat = box(b"mdat", secret, shown, thumbnail)
    first = len(ftyp) + 8
    picture, small = first + len(secret), first + len(secret) + len(shown)
    locations = [
        location(1, (picture, len(shown))),
        location(2, (first, 4), (first + 4, len(secret) - 4 + 3)),  # and three of the picture's
        location(3, (0, 6), (6, 0), method=1),
        location(4, (small, len(thumbnail))),
        location(5, (0, len(ftyp)), (2**31, 9)),  # the file's head, and nothing
    ]
    items = [
        item(1, b"av01", b"Color"),
        item(2, b"Exif"),
        item(3, b"mime", b"\0application/rdf+xml"),
        item(4, b"av01"),
        item(5, b"what"),
    ]
    meta = box(
        b"meta",
        bytes(4),
        box(b"hdlr", bytes(20)),
        box(b"pitm", bytes(4), b"\0\1"),
        box(b"iinf", bytes(4), b"\0\5", *items),
        box(b"iloc", b"\1\0\0\0\x44\x40\0\5", *locations),
        box(b"iref", bytes(4), box(b"thmb", b"\0\4\0\1\0\1")),
        box(b"idat", secret),
        box(b"xml ", bytes(4), secret),
        box(b"iprp", box(b"ipco", box(b"ispe", bytes(12)), box(b"udes", bytes(4), secret))),
    )
    moov = box(
        b"moov", box(b"udta", secret), box(b"trak", box(b"meta", bytes(4), box(b"bxml", secret)))
    )
    data = ftyp + mdat + meta + moov + box(b"skip", secret) + struct.pack(">I4s", 1, b"uuid")
    data += struct.pack(">Q", 16 + len(secret)) + secret + box(b"free", b"\0\0\0\x09")[:9]
    cuts = settled(data, avif(data, 1))
    copy = BytesIO()
    write(cuts, BytesIO(data), copy)
    silent = copy.getvalue()
    assert shown in silent
    assert silent.startswith(ftyp)
    for word in (b"Anna", b"clock", b"small", b"Exif", b"mime", b"rdf", b"udes", b"what", b"uuid"):
        assert word in data
        assert word not in silent
    assert len(silent) == len(data) - 9
    assert settled(silent, avif(silent, 1)) == []


# --- cuts


def test_a_copy_is_written_in_constant_memory() -> None:
    class Watched(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert 0 < size <= CHUNK
            return super().read(size)

        def write(self, piece: Any) -> int:
            assert len(piece) <= CHUNK
            return super().write(piece)

    body = bytes(range(256)) * 10_000
    cuts = [Cut(0, 10, b"new"), Cut(500_000, 500_000, b"!"), Cut(900_000, 2_000_000, b"", 900_000)]
    copy = Watched()
    write(cuts, Watched(body), copy)
    expected = b"new" + body[10:500_000] + b"!" + body[500_000:900_000] + bytes(900_000)
    assert copy.getvalue() == expected + body[2_000_000:]


def with_comments(count: int) -> bytes:
    """A JPEG with so many comments, each before a segment that stays."""
    body = pictures.jpeg()
    pair = segment(0xFE, b"words") + segment(0xDD, b"\0\0")
    return body[:20] + pair * count + body[20:]


def test_a_picture_in_too_many_pieces_is_too_complex() -> None:
    assert len(look(with_comments(MAX_CUTS)).cuts) == MAX_CUTS
    with pytest.raises(TooComplex):
        look(with_comments(MAX_CUTS + 1))


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(sorted(TALKATIVE)),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=8)), max_size=6),
    moved=st.tuples(st.floats(0, 1), st.integers(-9, 9)),
)
def test_whatever_is_taken_is_cut_well(
    name: str, edits: list[tuple[float, bytes]], moved: tuple[float, int]
) -> None:
    body = bytearray(TALKATIVE[name])
    for place, replacement in edits:
        start = int(place**2 * len(body))
        body[start : start + len(replacement)] = replacement
    place, by = int(moved[0] ** 2 * len(body)), moved[1]
    body[place : place + max(by, 0)] = bytes(max(-by, 0))  # cut out, or put in
    try:
        facts = look(bytes(body))
    except Verdict:
        return
    position = 0
    for cut in facts.cuts:
        assert position <= cut.start <= cut.end <= len(body)
        assert len(cut.new) <= MAX_NEW
        assert 0 <= cut.zeros <= cut.end - cut.start
        position = cut.end
    if (
        name != "animated avif"
    ):  # where its frames lie is not looked at, so a damaged one may lose some
        again = look(stripped(bytes(body), facts))
        assert again.cuts == ()
        assert (again.width, again.height) == (facts.width, facts.height)
        assert again.frames == facts.frames
