"""What the cage around a decoder costs: an empty one, on top of real work, in milliseconds; and the memory of both."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
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


def main() -> None:
    cages = {name: weighed() for name in PICTURES}
    cage = Sandbox()

    def caged(file: BinaryIO) -> None:
        with suppress(Empty):
            cage.examine(file, limits=LIMITS, timeout=30, memory=MEMORY)

    with tempfile.TemporaryFile() as file:
        empty = milliseconds(partial(caged, file), rounds=200)
    print(f"{'empty cage':<14}{empty:>10.1f}")
    print(f"{'picture':<14}{'caged':>10}{'free':>10}{'more':>8}{'idle MiB':>10}{'peak MiB':>10}")
    for name, make in PICTURES.items():
        with tempfile.TemporaryFile() as file:
            file.write(make())
            inside = milliseconds(partial(caged, file), rounds=9)
            outside = milliseconds(partial(imaging.examine, file, limits=LIMITS), rounds=9)
            cages[name].examine(file, limits=LIMITS, timeout=30, memory=MEMORY)
        idle, peak = mebibytes(cages[name])
        more = inside / outside - 1
        print(f"{name:<14}{inside:>10.1f}{outside:>10.1f}{more:>8.0%}{idle:>10.0f}{peak:>10.0f}")
    cage.close()


if __name__ == "__main__":
    main()
