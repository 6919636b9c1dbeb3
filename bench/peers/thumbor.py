"""thumbor's HTTP server, as many processes of it as there are cores here."""

import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError

from project.embedded.addresses import free_port

BIN = Path("bench/.peers/bin")
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Thumbor:
    process: subprocess.Popen[bytes]
    address: str

    def rendition(self, name: str, side: int, *, quality: int) -> bytes:
        """A WebP of a picture in its folder. Raises HTTPError."""
        filters = f"format(webp):quality({quality})"
        url = f"{self.address}/unsafe/fit-in/{side}x{side}/filters:{filters}/{name}"
        with urllib.request.urlopen(url) as answer:
            body: bytes = answer.read()
        return body


@contextmanager
def serving(pictures: Path, *, processes: int) -> Iterator[Thumbor]:
    port = free_port(HOST)
    options = f"--ip {HOST} --port {port} --processes {processes} --conf bench/peers/thumbor.conf"
    process = subprocess.Popen(
        [BIN / "thumbor", *options.split(), "--log-level", "critical"],
        env=os.environ | {"PICTURES": str(pictures)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    thumbor = Thumbor(process, f"http://{HOST}:{port}")
    try:
        _wait_for(thumbor)
        yield thumbor
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def _wait_for(thumbor: Thumbor) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(f"{thumbor.address}/healthcheck").close()
        except (URLError, HTTPError):
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("thumbor does not answer.")
