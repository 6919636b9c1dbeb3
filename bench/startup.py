"""How long `manage.py serve` takes until it is ready, and what its processes weigh when idle."""

import tempfile
import time
from pathlib import Path
from statistics import median

from project.embedded.addresses import free_port
from tests.serving import READY, Service

WARM_STARTS = 3
SETTLED = 5.0  # seconds until nobody is loading any more


def seconds_to_ready(service: Service) -> float:
    begin = time.perf_counter()
    service.start()
    service.wait_for(READY)
    return time.perf_counter() - begin


def warm_start(service: Service) -> float:
    service.stop()
    return seconds_to_ready(service)


def proportional_size(pid: int) -> int:
    """MiB, with each shared page divided among its users: the sum over processes is what they take."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) // 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder, "data"), port=free_port("127.0.0.1"))
        try:
            cold = seconds_to_ready(service)
            warm = median(warm_start(service) for _ in range(WARM_STARTS))
            time.sleep(SETTLED)
            family = service.family()
            size = sum(map(proportional_size, family))
        finally:
            service.kill()
    print(f"{'cold start to ready':<34}{cold:>8.1f} s")
    print(f"{f'warm start, median of {WARM_STARTS}':<34}{warm:>8.1f} s")
    print(f"{f'{len(family)} idle processes (PSS)':<34}{size:>6} MiB")


if __name__ == "__main__":
    main()
