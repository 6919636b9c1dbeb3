"""The ladder of four WebP renditions, with facts, placeholder and the cage around it, beside thumbor and sharp.

Each makes ladders of one file with both cores busy. Ours: two threads that share a cage's server. thumbor's HTTP
server with two processes answers four requests for a ladder. sharp clones one input for four outputs, in a Node
program that has two ladders under way. Then what came out is held against the best there can be, a full decode resized
by Lanczos and never encoded: bytes, and structural similarity.
"""

import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any, Protocol
from urllib.error import HTTPError

from PIL import Image, ImageMath

from bench.peers import sharp, thumbor
from bench.photograph import photograph
from bench.table import TURNS, Ratio, Row, note, report
from media_api.sandbox import Limits, Sandbox
from media_api.sides import SIDES

LIMITS = Limits(210_000_000, 120_000_000, 500, 300_000_000, 100)
MEMORY = 1536 * 1024 * 1024
CORES = 2
QUALITY = 80
LADDERS = CORES  # in a turn


@dataclass(frozen=True)
class Picture:
    name: str
    width: int
    height: int
    format: str
    options: dict[str, Any]

    def write(self, folder: Path) -> Path:
        path = folder / f"{self.name.replace(' ', '-')}.{self.format.lower()}"
        photograph(self.width, self.height).save(path, self.format, **self.options)
        return path


PICTURES = (
    Picture("JPEG 6 MP", 3000, 2000, "JPEG", {"quality": 90}),
    Picture("JPEG 24 MP", 6000, 4000, "JPEG", {"quality": 90}),
    Picture("PNG 6 MP", 3000, 2000, "PNG", {}),
    Picture("WebP 24 MP", 6000, 4000, "WEBP", {"quality": 85, "method": 2}),
    Picture("GIF 6 MP", 3000, 2000, "GIF", {}),
    Picture("AVIF 6 MP", 3000, 2000, "AVIF", {"speed": 8}),
)


class Maker(Protocol):
    """Raises CannotError."""

    def seconds(self, path: Path) -> float:
        """For LADDERS of them."""

    def outputs(self, path: Path) -> list[bytes]:
        """One ladder, by SIDES."""


class CannotError(Exception):
    """The peer does not read this."""


class Ours:
    def __init__(self) -> None:
        self.cage = Sandbox()

    def seconds(self, path: Path) -> float:
        begin = time.perf_counter()
        with ThreadPoolExecutor(CORES) as threads:
            list(threads.map(self.outputs, [path] * LADDERS))
        return time.perf_counter() - begin

    def outputs(self, path: Path) -> list[bytes]:
        with path.open("rb") as file:
            facts = self.cage.examine(file, limits=LIMITS, timeout=30, memory=MEMORY)
        return [rendition.body for rendition in facts.renditions]


class Thumbors:
    def __init__(self, server: thumbor.Thumbor) -> None:
        self.server = server

    def seconds(self, path: Path) -> float:
        begin = time.perf_counter()
        with ThreadPoolExecutor(2 * CORES) as threads:  # or a process would wait for its client
            list(threads.map(lambda side: self._output(path, side), SIDES * LADDERS))
        return time.perf_counter() - begin

    def outputs(self, path: Path) -> list[bytes]:
        return [self._output(path, side) for side in SIDES]

    def _output(self, path: Path, side: int) -> bytes:
        try:
            return self.server.rendition(path.name, side, quality=QUALITY)
        except HTTPError as error:
            raise CannotError(f"answers {error.code}") from error


class Sharps:
    def __init__(self, program: sharp.Sharp) -> None:
        self.program = program

    def seconds(self, path: Path, **options: Any) -> float:
        asked = {"file": str(path), "sides": SIDES, "quality": QUALITY, "count": LADDERS}
        try:
            return self.program.seconds(**asked | options)
        except sharp.SharpFailed as error:
            raise CannotError(str(error)) from error

    def outputs(self, path: Path) -> list[bytes]:
        with tempfile.TemporaryDirectory() as folder:
            self.seconds(path, count=1, into=folder)
            return [Path(folder, f"{side}.webp").read_bytes() for side in SIDES]


@dataclass(frozen=True)
class Peer:
    name: str
    maker: Maker
    bar: int


@contextmanager
def peers(folder: Path) -> Iterator[tuple[Peer, ...]]:
    with thumbor.serving(folder, processes=CORES) as server, sharp.running() as program:
        yield Peer("thumbor 7.8", Thumbors(server), 2), Peer("sharp 0.35", Sharps(program), 1)


def rows() -> Iterator[Row]:
    ours = Ours()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with peers(folder) as others:
            for picture in PICTURES:
                note(f"four renditions of {picture.name}")
                yield from beside(others, ours, picture, picture.write(folder))
    ours.cage.close()


def beside(others: tuple[Peer, ...], ours: Ours, picture: Picture, path: Path) -> Iterator[Row]:
    """All sides in turn, so that ours is measured once for both."""
    able = {}
    for peer in others:
        try:
            able[peer] = peer.maker.outputs(path)
        except CannotError as error:
            yield Row(5, f"ladder, {picture.name}", peer.name, f"cannot: {error}"[:60])
    ours.outputs(path)
    turns = [[maker.seconds(path) for maker in makers(ours, able)] for _ in range(TURNS)]
    own = LADDERS / median(turn[0] for turn in turns)
    note(f"{own:.1f} ladders a second")
    for number, (peer, theirs) in enumerate(able.items(), start=1):
        ratio = Ratio.of([turn[number] / turn[0] for turn in turns])
        is_met = ratio.median >= peer.bar
        bar = f">= {peer.bar} x"
        yield Row(5, f"ladder, {picture.name}", peer.name, str(ratio), bar, is_met)
        yield looks(picture, path, peer, ours.outputs(path), theirs)


def makers(ours: Ours, others: Iterable[Peer]) -> list[Maker]:
    return [ours, *(peer.maker for peer in others)]


def looks(picture: Picture, path: Path, peer: Peer, ours: list[bytes], theirs: list[bytes]) -> Row:
    """Of the worst of the four outputs, and the bytes of all four."""
    with Image.open(path) as file:
        whole = file.convert("RGB")
    pairs = zip(ours, theirs, strict=True)
    nearer = min(similarity(our, whole) - similarity(their, whole) for our, their in pairs)
    longer = sum(map(len, ours)) / sum(map(len, theirs))
    measured = f"SSIM {nearer:+.4f}, {longer:.2f} x bytes"
    is_met = nearer >= -0.002 and longer <= 1.06
    return Row(5, f"what they show, {picture.name}", peer.name, measured, "-0.002, 1.06 x", is_met)


def similarity(body: bytes, whole: Image.Image) -> float:
    """SSIM of the grey levels (Wang, Bovik, Sheikh, Simoncelli, 2004), its mean over squares of 8 x 8."""
    with Image.open(BytesIO(body)) as file:
        shown = file.convert("L").convert("F")
    best = whole.resize(shown.size, Image.Resampling.LANCZOS).convert("L").convert("F")
    bands = {"x": shown, "y": best}
    products = {"xx": (shown, shown), "yy": (best, best), "xy": (shown, best)}
    for name, (one, other) in products.items():
        bands[name] = ImageMath.lambda_eval(lambda of: of["a"] * of["b"], a=one, b=other)
    means = {name: band.reduce(8) for name, band in bands.items()}
    squares = ImageMath.lambda_eval(_similarity, **means)
    level = squares.reduce(squares.size).getpixel((0, 0))
    assert isinstance(level, float)
    return level


def _similarity(mean: dict[str, Any]) -> Any:
    x, y = mean["x"], mean["y"]
    light, contrast = 0.01 * 255, 0.03 * 255
    variances = mean["xx"] - x * x + mean["yy"] - y * y
    covariance = mean["xy"] - x * y
    numerator = (2 * x * y + light**2) * (2 * covariance + contrast**2)
    return numerator / ((x * x + y * y + light**2) * (variances + contrast**2))


if __name__ == "__main__":
    report(rows())
