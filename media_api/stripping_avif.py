"""AVIF without metadata: as `stripping`, but what stays keeps its place, since the file counts on it by number.

What goes becomes zeros in a box, a property or an item of the type `free`, which no reader looks at. Kept
is, by name, what shows the picture (ISO/IEC 14496-12 and 23008-12; AV1 Image File Format 1.1).
"""

from collections.abc import Iterator
from io import BytesIO
from typing import NamedTuple

from . import containers
from .stripping import Cut

# Which boxes stay in which; no name is the file itself.
KEPT = {
    parent: frozenset(names.split())
    for parent, names in (
        (b"", b"ftyp styp meta moov moof mdat imda sidx"),
        (b"meta", b"hdlr pitm iloc iinf iref iprp idat dinf grpl"),
        (b"iprp", b"ipco ipma"),
        (
            b"ipco",
            b"ispe pixi colr av1C auxC irot imir clap pasp clli mdcv cclv amve a1op a1lx lsel",
        ),
        (b"moov", b"mvhd trak mvex"),
        (b"trak", b"tkhd edts tref trgr meta mdia"),
        (b"mdia", b"mdhd hdlr elng minf"),
    )
}
TIMES = {b"mvhd", b"tkhd", b"mdhd"}  # they begin with when it was made and changed
ROOMS = {b"mdat", b"imda", b"idat"}  # where items have their bytes
SHOWN = {b"av01", b"grid", b"iovl", b"iden", b"tmap", b"sato"}  # items that are shown


class Box(NamedTuple):
    """`parent` and `start` of the box, where its content begins, and its end."""

    parent: bytes
    name: bytes
    start: int
    content: int
    end: int


Range = tuple[int, int]


class Item(NamedTuple):
    """Some bytes about, or of, an item: from `start` up to `end`."""

    id: int
    start: int
    end: int


def avif(data: bytes, _: int) -> Iterator[Cut]:
    """Zeros in place of what goes, named `free`; what follows the last box goes too.

    Its orientation is in `irot` and `imir`, which stay.
    """
    boxes = list(_tree(data, b"", 0, len(data)))
    shown, hidden, names = _items(data, boxes)
    for box in boxes:
        if box.name not in KEPT[box.parent]:
            names.append(box.start + 4)
            hidden.append((box.content, box.end))
        elif box.name in TIMES and box.end - box.content >= 20:
            width = 8 if data[box.content] else 4
            hidden.append((box.content + 4, box.content + 4 + 2 * width))
    ends = [box.end for box in boxes if not box.parent] + [end for _, end in shown]
    cuts = [Cut(min(max(ends), len(data)), len(data))]
    cuts += [Cut(name, name + 4, b"free") for name in names]
    cuts += [Cut(start, end, zeros=end - start) for start, end in _without(hidden, shown)]
    yield from sorted(cuts, key=lambda cut: cut.start)


def _tree(data: bytes, parent: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes inside another, each followed by those inside it where they matter."""
    for name, box_start, content, box_end in containers.avif_boxes(data, start, end):
        if box_end > end:
            return
        yield Box(parent, name, box_start, content, box_end)
        if name in KEPT[parent] and name in KEPT:
            content += 4 if name == b"meta" else 0  # version and flags
            yield from _tree(data, name, content, box_end)


def _items(data: bytes, boxes: list[Box]) -> tuple[list[Range], list[Range], list[int]]:
    """What items hold that are shown; what others say and hold (Exif, XMP, thumbnails); where these have their type."""
    shown: list[Range] = []
    hidden: list[Range] = []
    names: list[int] = []
    rooms = [(box.content, box.end) for box in boxes if box.name in ROOMS]
    for meta in (box for box in boxes if box.name == b"meta"):
        inside = {box.name: box for box in boxes if meta.start < box.start < meta.end}
        items = list(_descriptions(data, inside.get(b"iinf")))
        pictures = {item.id for item in items if data[item.start : item.start + 4] in SHOWN}
        pictures -= _thumbnails(data, inside.get(b"iref"))
        for item in items:
            if item.id not in pictures:
                names.append(item.start)
                hidden.append((item.start + 4, item.end))
        for item in _extents(data, inside.get(b"iloc"), inside.get(b"idat")):
            if item.id in pictures:
                shown.append((item.start, item.end))
            elif any(start <= item.start <= item.end <= end for start, end in rooms):
                hidden.append((item.start, item.end))
    return shown, hidden, names


def _descriptions(data: bytes, iinf: Box | None) -> Iterator[Item]:
    """Each item's description from its type on (ISO/IEC 14496-12, 8.11.6)."""
    if iinf is None:
        return
    first = iinf.content + (8 if data[iinf.content] else 6)
    for name, _, content, end in containers.avif_boxes(data, first, iinf.end):
        width = 4 if data[content] > 2 else 2
        type_ = content + 6 + width
        if name == b"infe" and data[content] >= 2 and type_ + 4 <= end <= iinf.end:
            yield Item(int.from_bytes(data[content + 4 : content + 4 + width]), type_, end)


def _thumbnails(data: bytes, iref: Box | None) -> set[int]:
    """The items that refer to another as its thumbnail (8.11.12)."""
    if iref is None:
        return set()
    width = 4 if data[iref.content] else 2
    return {
        int.from_bytes(data[content : content + width])
        for name, _, content, _ in containers.avif_boxes(data, iref.content + 4, iref.end)
        if name == b"thmb"
    }


def _extents(data: bytes, iloc: Box | None, idat: Box | None) -> Iterator[Item]:
    """Where the bytes of each item lie, in the file or in `idat` (8.11.3). Those of other items are theirs."""
    if iloc is None:
        return
    with BytesIO(data[iloc.content : iloc.end]) as file:

        def number(width: int) -> int:
            return int.from_bytes(file.read(width))

        version, _, sizes = number(1), number(3), number(2)
        offset_size, length_size, base_size, index_size = (sizes >> s & 15 for s in (12, 8, 4, 0))
        width = 4 if version == 2 else 2
        for _ in range(number(width)):
            if file.tell() >= iloc.end - iloc.content:
                return
            item, method, _ = number(width), number(2 if version else 0) & 15, number(2)
            base = number(base_size)
            for _ in range(number(2)):
                number(index_size if version else 0)
                start, length = base + number(offset_size), number(length_size)
                if method == 1 and idat:
                    start += idat.content
                until = idat.end if method == 1 and idat else len(data)
                if method < 2:
                    yield Item(item, start, start + length if length else until)


def _without(ranges: list[Range], others: list[Range]) -> Iterator[Range]:
    """The ranges in order, each byte once, but for the bytes that others have too."""
    position = 0
    for start, end in sorted(ranges):
        position = max(position, start)
        for other_start, other_end in sorted(others):
            if other_start >= end:
                break
            if position < other_start:
                yield position, other_start
            position = max(position, other_end)
        if position < end:
            yield position, end
            position = end
