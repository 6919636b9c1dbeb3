"""What the cage around a decoder costs: an empty one, and on top of real work; and the memory of both."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import BinaryIO

from bench.table import TURNS, Row, in_turns, report
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


def milliseconds(work: Callable[[], object], *, rounds: int = 1) -> float:
    """Of one of so many."""
    start = perf_counter()
    for _ in range(rounds):
        work()
    return (perf_counter() - start) / rounds * 1000


def weighed() -> Sandbox:
    """A cage whose server runs: it must be started while this process is small, since a peak is inherited."""
    cage = Sandbox()
    with tempfile.TemporaryFile() as file, suppress(Empty):
        cage.examine(file, limits=LIMITS, timeout=30, memory=MEMORY)
    return cage


def mebibytes(cage: Sandbox) -> tuple[float, float]:
    """Resident: the idle server, and the largest child that it had. It has ended then."""
    assert cage.server is not None
    status = Path(f"/proc/{cage.server.process.pid}/status").read_text()
    cage.server.control.close()
    _, _, usage = os.wait4(cage.server.process.pid, 0)
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024, usage.ru_maxrss / 1024


def rows() -> Iterator[Row]:
    cages = {name: weighed() for name in PICTURES}
    cage = Sandbox()

    def caged(file: BinaryIO) -> None:
        with suppress(Empty):
            cage.examine(file, limits=LIMITS, timeout=30, memory=MEMORY)

    with tempfile.TemporaryFile() as file:
        milliseconds(partial(caged, file))
        empty = median(milliseconds(partial(caged, file), rounds=50) for _ in range(TURNS))
    yield Row(5, "an empty cage", "", f"{empty:.1f} ms", "<= 6 ms", empty <= 6)
    for name, make in PICTURES.items():
        with tempfile.TemporaryFile() as file:
            file.write(make())
            inside = partial(milliseconds, partial(caged, file))
            outside = partial(milliseconds, partial(imaging.examine, file, limits=LIMITS))
            ratio, _, _ = in_turns(outside, inside, turns=9)
            cages[name].examine(file, limits=LIMITS, timeout=30, memory=MEMORY)
        idle, peak = mebibytes(cages[name])
        beside = f"idle {idle:.0f}, peak {peak:.0f} MiB"
        met = ratio.median <= 1.25
        yield Row(5, f"caged / free, {name}", beside, str(ratio), "<= 1.25 x", met)
    cage.close()


if __name__ == "__main__":
    report(rows())
