"""Pictures are decoded where a decoder that was taken over can reach nothing: in a child process of its own.

The child is forked by a server (`cage`) that this process starts when it is first needed, and again
when it died. It is given one file, to read, and says what it found through a pipe. It may lie, so
what it says is looked at like anything else that strangers send.

No Django here: the limits are arguments.
"""

import atexit
import json
import math
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from . import containers, imaging
from .exceptions import (
    DecoderCrashed,
    DecoderFailed,
    Empty,
    NotAnImage,
    TooComplex,
    TooManyFrames,
    TooManyPixels,
    Truncated,
)
from .faults import fault_point
from .imaging import Facts, Limits, Rendition
from .sides import fit, rendition_sides
from .stripping import MAX_CUTS, MAX_NEW, Cut

__all__ = ["Facts", "Limits", "Rendition", "Sandbox", "examine"]

ROOT = Path(__file__).resolve().parent.parent
MAX_ANSWER = 32 * 1024 * 1024  # four renditions of noise take less than half
MAX_FAULT = 500  # characters
# glibc alone knows it. A picture is large and new memory: in pages of 4 KiB a tenth of the time goes to the kernel.
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
PATIENCE = 3  # by the clock a child may take this many times what it may take of a processor
PLACEHOLDER = re.compile(r"data:image/webp;base64,[A-Za-z0-9+/]{16,2000}={0,2}")
VERDICTS = {
    verdict.code: verdict
    for verdict in (Empty, NotAnImage, Truncated, TooManyPixels, TooManyFrames, TooComplex)
}


class ServerGone(Exception):
    """It died before it could say how the child ended."""


@dataclass(frozen=True, eq=False)
class Server:
    process: subprocess.Popen[bytes]
    control: socket.socket


class Sandbox:
    """A fork server, and what is asked of it. Any thread may ask; each request has pipes of its own."""

    def __init__(self, module: str = "media_api.cage") -> None:
        self.module = module
        self.lock = threading.Lock()
        self.server: Server | None = None

    def examine(self, file: BinaryIO, *, limits: Limits, timeout: float, memory: int) -> Facts:
        """`imaging.examine` in a child; `file` must be a real one. Seconds of a processor (whole ones),
        bytes of address space.

        Raises a Verdict on the bytes, TooComplex too when one of the two was used up; DecoderCrashed
        when the child died by itself or did not make sense; DecoderFailed when our code failed in it,
        somebody killed it or its server, or it took PATIENCE times as long by the clock: a picture is
        not refused because the machine is busy.
        """
        seconds = math.ceil(timeout)
        request = {"limits": asdict(limits), "memory": memory, "seconds": seconds}
        message = json.dumps(request).encode()
        file.flush()
        size = os.fstat(file.fileno()).st_size
        for _ in range(2):
            with suppress(ServerGone):
                answer, exit_code = self._ask(message, file, seconds * PATIENCE)
                return understand(answer, exit_code, limits, size=size)
        raise DecoderFailed("Its server died twice.")

    def _ask(self, message: bytes, file: BinaryIO, patience: float) -> tuple[bytes, int]:
        """What the child says, and its exit code as `subprocess` has them."""
        with _pipe() as (answer, answer_end), _pipe() as (exit_code, exit_code_end):
            with _read_only(file) as picture:
                server = self._send(message, [picture, answer_end.fileno(), exit_code_end.fileno()])
            answer_end.close()
            exit_code_end.close()
            fault_point("in_the_cage")
            deadline = time.monotonic() + patience
            said = _read(answer, deadline, at_most=MAX_ANSWER)
            ended = _read(exit_code, deadline, at_most=8)
        if not ended:
            self._discard(server)
            raise ServerGone
        return said, int(ended)

    def _send(self, message: bytes, descriptors: list[int]) -> Server:
        with self.lock:
            if self.server is None or self.server.process.poll() is not None:
                self._stop()
                self.server = self._started()
            try:
                socket.send_fds(self.server.control, [message], descriptors)
            except OSError as error:
                self._stop()
                raise ServerGone from error
            return self.server

    def _started(self) -> Server:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                cwd=ROOT,
                env=HUGE_PAGES,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the worker; the server ends with the socket
            )
        atexit.register(self.close)
        return Server(process, control)

    def _discard(self, server: Server) -> None:
        with self.lock:
            if self.server is server:  # another thread may have been here first
                self._stop()

    def _stop(self) -> None:
        if self.server is None:
            return
        self.server.control.close()
        self.server.process.kill()
        self.server.process.wait()
        self.server = None
        atexit.unregister(self.close)

    def close(self) -> None:
        """End the server and whatever it has running. The next request starts another."""
        with self.lock:
            self._stop()


_sandbox = Sandbox()
examine = _sandbox.examine


# --- descriptors


@contextmanager
def _pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """Its two ends, to read and to write."""
    reading, writing = os.pipe()
    with FileIO(reading) as ours, FileIO(writing, "w") as theirs:
        yield ours, theirs


@contextmanager
def _read_only(file: BinaryIO) -> Iterator[int]:
    """Another descriptor of the same file, with its own position: what is examined cannot be changed through it."""
    descriptor = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(pipe: FileIO, deadline: float, *, at_most: int) -> bytes:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    content = bytearray()
    while True:
        left = max(0, deadline - time.monotonic())
        if not poll.poll(math.ceil(left * 1000)):
            raise DecoderFailed("It did not end in time.")
        piece = os.read(pipe.fileno(), 1024 * 1024)
        if not piece:
            return bytes(content)
        content += piece
        if len(content) > at_most:
            raise DecoderCrashed("It said too much.")


# --- what a child says, which may be a lie


def understand(answer: bytes, exit_code: int, limits: Limits, *, size: int) -> Facts:
    """The facts, if a file of `size` bytes can have them.

    Raises the Verdict that was told, DecoderCrashed, or DecoderFailed.
    """
    if exit_code == -signal.SIGXCPU:
        raise TooComplex
    if (
        exit_code == -signal.SIGKILL
    ):  # the machine had no memory left; a child that takes too much is told so
        raise DecoderFailed("It was killed.")
    if exit_code:
        raise DecoderCrashed(f"It ended with {exit_code}.")
    header, _, bodies = answer.partition(b"\n")
    try:
        told = json.loads(header)
        if "verdict" in told:
            raise VERDICTS[told["verdict"]]
        if "fault" in told:
            raise DecoderFailed(str(told["fault"])[:MAX_FAULT])
        return _facts(told, bodies, limits, size)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DecoderCrashed("It did not make sense.") from error


def _facts(told: dict[str, Any], bodies: bytes, limits: Limits, size: int) -> Facts:
    kind = {kind.content_type: kind for kind in imaging.KINDS}[told["content_type"]]
    _must(told["extension"] == kind.extension)
    width, height, frames = map(_count, (told["width"], told["height"], told["frames"]))
    most = limits.max_jpeg_pixels if kind is imaging.JPEG else limits.max_pixels
    placeholder = told["placeholder"]
    _must(width * height <= most and frames <= limits.max_frames)
    _must(frames == 1 or frames * width * height <= limits.max_animation_pixels)
    _must(PLACEHOLDER.fullmatch(placeholder) is not None)
    return Facts(
        content_type=kind.content_type,
        extension=kind.extension,
        width=width,
        height=height,
        frames=frames,
        placeholder=placeholder,
        renditions=tuple(_renditions(width, height, told["renditions"], bodies)),
        cuts=tuple(_cuts(told["cuts"], size)),
    )


def _renditions(width: int, height: int, sizes: list[Any], bodies: bytes) -> Iterator[Rendition]:
    """Which there are, and how large, follows from the picture's size."""
    for side, size in zip(rendition_sides(width, height), sizes, strict=True):
        body, bodies = bodies[: _count(size)], bodies[size:]
        expected = fit(width, height, side)
        outline = containers.webp(body)
        _must(len(body) == size and body[:4] == b"RIFF" and body[8:12] == b"WEBP")
        _must(int.from_bytes(body[4:8], "little") + 8 == size and outline.frames == 1)
        _must((outline.width, outline.height) == expected)
        yield Rendition(side, *expected, body=body)
    _must(not bodies)


def _cuts(cuts: list[Any], size: int) -> Iterator[Cut]:
    """They stand in order inside the file, and what they bring is small or zeros: a copy hardly outgrows it."""
    _must(len(cuts) <= MAX_CUTS)
    position = 0
    for start, end, new, zeros in cuts:
        _must(all(type(number) is int for number in (start, end, zeros)))
        _must(position <= start <= end <= size and 0 <= zeros <= end - start)
        _must(len(new) <= 2 * MAX_NEW)
        yield Cut(start, end, bytes.fromhex(new), zeros)
        position = end


def _count(told: Any) -> int:
    _must(type(told) is int and told > 0)
    return int(told)


def _must(hold: bool) -> None:
    if not hold:
        raise ValueError
