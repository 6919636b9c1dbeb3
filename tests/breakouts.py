"""What a decoder could do that was taken over: `python -m tests.breakouts` is the cage with these in it.

The picture's content names the function.
"""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NoReturn

from media_api import cage, imaging
from media_api.exceptions import Empty

GiB = 1024**3
FOREVER = iter(int, 1)


def opens_a_file() -> None:
    Path("/etc/passwd").read_bytes()


def looks_for_a_file() -> None:
    os.statvfs("/etc")


def connects() -> None:
    socket.create_connection(("127.0.0.1", 9))


def asks_postgres() -> None:
    socket.socket(socket.AF_UNIX)


def executes() -> None:
    subprocess.run(["/bin/true"])


def forks() -> None:
    for _ in FOREVER:
        os.fork()


def kills_its_server() -> None:
    os.kill(os.getppid(), signal.SIGKILL)


def crashes() -> None:
    os.abort()


def allocates() -> None:
    bytearray(10 * GiB)


def spins() -> None:
    for _ in FOREVER:
        pass


def closes_its_answer_and_spins() -> None:
    os.close(cage.ANSWER)
    spins()


def sleeps() -> None:
    time.sleep(60)


def waits_for_ever() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def fails() -> None:
    raise RuntimeError("no verdict")


def writes_without_end() -> None:
    for _ in FOREVER:
        cage.say([bytes(1024 * 1024)])


def changes_its_picture() -> None:
    os.write(cage.PICTURE, b"other bytes")


def prints_rubbish() -> NoReturn:
    cage.say([b"[" * 100_000])
    os._exit(0)


def says_nothing() -> NoReturn:
    os._exit(0)


BREAKOUTS: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        opens_a_file,
        looks_for_a_file,
        connects,
        asks_postgres,
        executes,
        forks,
        kills_its_server,
        crashes,
        allocates,
        spins,
        closes_its_answer_and_spins,
        sleeps,
        waits_for_ever,
        fails,
        writes_without_end,
        changes_its_picture,
        prints_rubbish,
        says_nothing,
    )
}


def examine(file: BinaryIO, *, limits: imaging.Limits) -> imaging.Facts:
    """Break out as the picture says, else examine it. Empty is what is said when it worked."""
    name = file.read(100).decode("latin-1")
    if name in BREAKOUTS:
        BREAKOUTS[name]()
        raise Empty
    return imaging.examine(file, limits=limits)


if __name__ == "__main__":
    cage.main(examine)
