"""What the cage around a decoder costs: an empty one, and on top of real work, in milliseconds."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from statistics import median
from time import perf_counter
from typing import BinaryIO

from media_api import imaging
from media_api.exceptions import Empty
from media_api.sandbox import Limits, Sandbox
from tests import pictures

LIMITS = Limits(210_000_000, 120_000_000, 500, 300_000_000, 100)
MEMORY = 1536 * 1024 * 1024
PICTURES: dict[str, Callable[[], bytes]] = {
    "JPEG, 12 MP": lambda: pictures.jpeg(4000, 3000),
    "PNG, 2 MP": lambda: pictures.png(1600, 1200),
    "WebP, 2 MP": lambda: pictures.webp(1600, 1200),
}


def milliseconds(work: Callable[[], object], *, rounds: int) -> float:
    """The median."""
    work()
    times = []
    for _ in range(rounds):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return median(times) * 1000


def main() -> None:
    cage = Sandbox()

    def caged(file: BinaryIO) -> None:
        with suppress(Empty):
            cage.examine(file, limits=LIMITS, timeout=30, memory=MEMORY)

    with tempfile.TemporaryFile() as file:
        empty = milliseconds(partial(caged, file), rounds=200)
    print(f"{'empty cage':<14}{empty:>10.1f}")
    print(f"{'picture':<14}{'caged':>10}{'free':>10}{'more':>8}")
    for name, make in PICTURES.items():
        with tempfile.TemporaryFile() as file:
            file.write(make())
            inside = milliseconds(partial(caged, file), rounds=9)
            outside = milliseconds(partial(imaging.examine, file, limits=LIMITS), rounds=9)
        print(f"{name:<14}{inside:>10.1f}{outside:>10.1f}{inside / outside - 1:>8.0%}")
    cage.close()


if __name__ == "__main__":
    main()
