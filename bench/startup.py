"""From the start of `manage.py serve` until it is ready, what idle processes weigh, and what an import costs."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median

from bench.table import Row, in_turns, report
from bench.world import world
from project.embedded.addresses import free_port
from tests.serving import READY, Service

WARM_STARTS = 5
SETTLED = 5.0  # seconds until nobody is loading any more


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder, "data"), port=free_port("127.0.0.1"))
        try:
            cold = seconds_to_ready(service)
            warm = median(warm_start(service) for _ in range(WARM_STARTS))
            time.sleep(SETTLED)
            family = service.family()
            size = weight_of(family)
        finally:
            service.kill()
    work = "start to ready, warm"
    yield Row(11, work, f"cold: {cold:.1f} s", f"{warm:.1f} s", "<= 4 s", warm <= 4)
    work = f"memory of {len(family)} idle processes"
    yield Row(11, work, "", f"{size} MiB PSS", "<= 450 MB", size * 1.048576 <= 450)
    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as found:
        ratio, own, theirs = in_turns(
            partial(seconds_to_import, "project.wsgi", found.environment),
            partial(seconds_to_import, "bench.peers.obvious", found.environment | found.chosen),
        )
    yield Row(11, "import", f"the obvious: {own:.2f} to {theirs:.2f} s", str(ratio))


def seconds_to_ready(service: Service) -> float:
    begin = time.perf_counter()
    service.start()
    service.wait_for(READY)
    return time.perf_counter() - begin


def warm_start(service: Service) -> float:
    service.stop()
    return seconds_to_ready(service)


def weight_of(pids: Iterable[int]) -> int:
    """MiB, with each shared page divided among its users (PSS): the sum over processes is what they take."""
    return sum(map(proportional_size, pids)) // 1024


def proportional_size(pid: int) -> int:
    """KiB; 0 of a process that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def seconds_to_import(module: str, environment: Mapping[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], env=environment, check=True)
    return time.perf_counter() - begin


if __name__ == "__main__":
    report(rows())
