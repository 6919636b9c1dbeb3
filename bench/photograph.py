"""Pictures that cost what photographs cost, made in code: the same arguments give the same pixels.

Discs that cover each other, with radii by a power law, have the edges and the spectrum of natural images ("dead
leaves": Lee, Mumford, Huang, Occlusion Models for Natural Images, 2001). Over them lies a sensor's grain. The WebP of
one takes as many bytes and as long as that of the photograph that sharp is measured with, within a tenth.
"""

from functools import cache
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

SMALLEST = 3.0  # pixels of a radius
PIXELS = 300  # for each disc
SPREAD = 18  # of a disc's colour around that of its place
GRAIN = 2
TILE = 512


@cache
def photograph(width: int, height: int, *, grain: int = GRAIN, seed: int = 0) -> Image.Image:
    random = Random(seed)
    light = Image.frombytes("RGB", (8, 6), random.randbytes(8 * 6 * 3))
    picture = light.resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(width * height // PIXELS):
        x, y = random.randrange(width), random.randrange(height)
        across = SMALLEST / max(SMALLEST / min(width, height), random.random()) ** 0.5
        down = across * random.uniform(0.5, 1)
        colour = picture.getpixel((x, y))
        assert isinstance(colour, tuple)
        near = tuple(int(level + random.gauss(0, SPREAD)) for level in colour)
        draw.ellipse((x - across, y - down, x + across, y + down), fill=near)
    return _grained(picture.filter(ImageFilter.GaussianBlur(0.8)), grain, random)


def _grained(picture: Image.Image, grain: int, random: Random) -> Image.Image:
    noise = bytes(int(random.gauss(128, grain)) for _ in range(TILE * TILE))
    tile = Image.merge("RGB", [Image.frombytes("L", (TILE, TILE), noise)] * 3)
    for top in range(0, picture.height, TILE):
        for left in range(0, picture.width, TILE):
            box = (left, top, min(left + TILE, picture.width), min(top + TILE, picture.height))
            piece = picture.crop(box)
            cut = tile.crop((0, 0, *piece.size))
            picture.paste(ImageChops.add(piece, cut, 1, -128), box)
    return picture
