"""The other side of `sandbox`: a process that forks a child for each picture and locks it up.

Started as `python -m media_api.cage` with nothing of ours in its environment and a socket as its stdin, it has
nothing to give away: no secret, no database, no network connection. It has one thread and has read
one picture of each kind, so a child begins warm, and needs no file but its picture.

A request is one message: what to allow, and three descriptors (the picture, a pipe for the answer,
a pipe for the child's exit code). Who asked hangs up by closing the last, and the child is killed. At
the end of the socket all is over, however the worker died.
"""

import ctypes
import fcntl
import gc
import json
import logging
import os
import resource
import select
import signal
import socket
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from . import imaging, landlock, seccomp
from .exceptions import TooComplex, Verdict

PR_SET_PDEATHSIG = 1
MAX_DESCRIPTORS = 1024  # of the server
PICTURE, ANSWER = 3, 4  # the descriptors of a child; 0 to 2 are /dev/null

_libc = ctypes.CDLL(None)

Examine = Callable[..., imaging.Facts]


@dataclass(frozen=True)
class Child:
    pid: int
    pidfd: int
    exit_code: int  # the pipe it is told through


def main(examine: Examine = imaging.examine) -> None:
    logging.disable()  # a child has nowhere to write to
    imaging.warm_up()
    gc.collect()
    gc.freeze()
    with suppress(AttributeError):  # glibc only; pages that are given back need not be copied
        _libc.malloc_trim(0)
    limit_to(resource.RLIMIT_NOFILE, MAX_DESCRIPTORS)
    with socket.socket(fileno=os.dup(0)) as control:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.close(null)
        Server(control, examine).serve()


class Server:
    """Waits for requests, for children that end, and for those who asked to hang up."""

    def __init__(self, control: socket.socket, examine: Examine) -> None:
        self.control = control
        self.examine = examine
        self.children: dict[int, Child] = {}  # by each of their descriptors
        self.poll = select.poll()
        self.poll.register(control, select.POLLIN)

    def serve(self) -> None:
        while True:
            events = dict(self.poll.poll())
            asked = events.pop(self.control.fileno(), 0)
            for descriptor in events:
                if child := self.children.get(descriptor):
                    self.bury(child) if descriptor == child.pidfd else self.kill(child)
            if (
                asked and not self.accept()
            ):  # last: it makes descriptors, with numbers of closed ones
                break
        for child in self.children.values():
            kill_group(child.pid)

    def accept(self) -> bool:
        """Fork a child for a request; False when nobody will ask any more."""
        message, descriptors, _, _ = socket.recv_fds(self.control, 4096, 3)
        if not message:
            return False
        picture, answer, exit_code = descriptors
        parent = os.getpid()
        pid = os.fork()
        if not pid:
            live(self.examine, json.loads(message), picture, answer, parent)
        os.close(picture)
        os.close(answer)
        child = Child(pid, os.pidfd_open(pid), exit_code)
        self.children |= {child.pidfd: child, child.exit_code: child}
        self.poll.register(child.pidfd, select.POLLIN)
        self.poll.register(child.exit_code, 0)  # errors are always told: nobody reads any more
        return True

    def kill(self, child: Child) -> None:
        self.poll.unregister(child.exit_code)
        del self.children[child.exit_code]
        kill_group(child.pid)

    def bury(self, child: Child) -> None:
        kill_group(child.pid)  # whatever it may have left
        _, status = os.waitpid(child.pid, 0)
        with suppress(BrokenPipeError):
            os.write(child.exit_code, str(os.waitstatus_to_exitcode(status)).encode())
        for descriptor in (child.pidfd, child.exit_code):
            if self.children.pop(descriptor, None):
                self.poll.unregister(descriptor)
            os.close(descriptor)


def kill_group(pid: int) -> None:
    """Kill a child and its group, or the child alone when it had no time to make one."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


# --- in the child


def live(examine: Examine, request: dict[str, Any], picture: int, answer: int, parent: int) -> None:
    """The whole life of a child. It never returns."""
    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return
        os.setpgid(0, 0)
        keep_only(picture, answer)
        with os.fdopen(PICTURE, "rb", closefd=False) as file:
            lock_up(memory=request["memory"], seconds=request["seconds"])
            say(reply(examine, file, imaging.Limits(**request["limits"])))
        os._exit(0)
    finally:
        os._exit(1)


def keep_only(picture: int, answer: int) -> None:
    """Close all descriptors but these two, which get numbers of their own."""
    spare = [fcntl.fcntl(each, fcntl.F_DUPFD, ANSWER + 1) for each in (picture, answer)]
    os.dup2(spare[0], PICTURE)
    os.dup2(spare[1], ANSWER)
    for standard in (1, 2):
        os.dup2(0, standard)
    os.closerange(ANSWER + 1, MAX_DESCRIPTORS)


def lock_up(*, memory: int, seconds: int) -> None:
    if landlock.is_available():  # first: it needs a descriptor more
        landlock.renounce()
    for what, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, ANSWER + 1),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        limit_to(what, limit)
    limit_to(resource.RLIMIT_CPU, seconds, seconds + 1)  # SIGXCPU, then SIGKILL
    if seccomp.is_available():
        seccomp.renounce()


def limit_to(what: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, or leave what is stricter already."""
    hard = soft if hard is None else hard
    _, most = resource.getrlimit(what)
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(what, (soft, hard))


def reply(examine: Examine, file: BinaryIO, limits: imaging.Limits) -> list[bytes]:
    """A line of JSON, then the bodies of the renditions."""
    try:
        facts = examine(file, limits=limits)
    except Verdict as verdict:
        return [json.dumps({"verdict": verdict.code}).encode()]
    except MemoryError:
        return [json.dumps({"verdict": TooComplex.code}).encode()]
    except Exception as fault:
        return [json.dumps({"fault": f"{fault!r} at {trace(fault)}"}).encode()]
    bodies = [rendition.body for rendition in facts.renditions]
    header = asdict(facts) | {
        "renditions": [len(body) for body in bodies],
        "cuts": [[cut.start, cut.end, cut.new.hex(), cut.zeros] for cut in facts.cuts],
    }
    return [json.dumps(header).encode() + b"\n", *bodies]


def trace(fault: Exception) -> str:
    """Where it happened, innermost first. The lines themselves are in files, which are out of reach."""
    frames = traceback.walk_tb(fault.__traceback__)
    return " < ".join(
        f"{frame.f_code.co_qualname}:{line}" for frame, line in reversed(list(frames))
    )


def say(parts: list[bytes]) -> None:
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[os.write(ANSWER, view) :]


if __name__ == "__main__":
    main()
