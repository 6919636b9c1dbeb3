"""How much memory the bombs of a format take that are refused: `python -m tests.weighing JPEG` prints MiB.

A process of its own, since a child's peak is never less than that of the process it came from.
"""

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from media_api.exceptions import Verdict
from media_api.sandbox import Sandbox
from tests.bombs import BOMBS, KEPT, WHOLE, MiB
from tests.test_imaging import LIMITS

KiB = 1024


def main(format: str) -> None:
    """Idle, then the largest child that read one of them (wait4(2): `ru_maxrss` of those it waited for)."""
    cage = Sandbox()
    weighed = [
        bomb
        for bomb in BOMBS
        if bomb.expected != KEPT and bomb.shown_by != WHOLE and format in bomb.name.upper()
    ]
    for bomb in weighed:
        with tempfile.TemporaryFile() as file, suppress(Verdict):
            file.write(bomb.make())
            cage.examine(file, limits=LIMITS, timeout=30, memory=1536 * MiB)
    assert cage.server is not None
    status = Path(f"/proc/{cage.server.process.pid}/status").read_text()
    idle = int(status.partition("VmRSS:")[2].split()[0]) // KiB
    cage.server.control.close()
    _, _, usage = os.wait4(cage.server.process.pid, 0)
    print(len(weighed), idle, usage.ru_maxrss // KiB)


if __name__ == "__main__":
    main(*sys.argv[1:])
