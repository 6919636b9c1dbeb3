"""`manage.py serve` as its user sees it: what it says, and the processes under it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

READY = r"Shoebox is ready at (http://\S+)"
SIGN_IN = r"Sign in.*: (http://\S+)"
LEADS_ELSEWHERE = ("DATABASE_URL", "HOST", "PUBLIC_HOST", "PUBLIC_URL", "SECRET_KEY")


class Service:
    def __init__(self, data: Path, *, port: int, **variables: str) -> None:
        self.data = data
        self.port = port
        self.output = data.with_suffix(".output")
        self.environment = embedded_environment(DATA=str(data), PORT=str(port), **variables)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve"],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def wait_for(self, pattern: str, *, seconds: float = 60) -> str:
        """What the first group of `pattern` matches in the output, as soon as it does."""
        deadline = time.monotonic() + seconds
        while not (match := re.search(pattern, self.output.read_text())):
            assert time.monotonic() < deadline, f"no {pattern!r} in: {self.output.read_text()}"
            assert self.process, "not started"
            assert self.process.poll() is None, f"it ended: {self.output.read_text()}"
            time.sleep(0.02)
        return match[1] if match.groups() else match[0]

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command, run beside the service."""
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True)

    def family(self) -> set[int]:
        assert self.process, "not started"
        return descendants(self.process.pid)

    def child(self, name: str) -> int:
        """The eldest process of the service with `name` in its command line, 0 if there is none."""
        return min((pid for pid in self.family() if name in command_line(pid)), default=0)

    def stop(self) -> int:
        """Ctrl-C, with the ten seconds that it may take."""
        assert self.process, "not started"
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)

    def kill(self) -> None:
        """Pull the plug: everything at once, with no time to do anything."""
        if self.process is None:
            return
        for pid in self.family() if self.process.poll() is None else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def embedded_environment(**variables: str) -> dict[str, str]:
    """The environment of a user: the tests' own leads to the tests' own services."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if name not in LEADS_ELSEWHERE and not name.startswith("S3_")
    }
    return ours | variables


def descendants(pid: int) -> set[int]:
    children: set[int] = set()
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children.update(map(int, (task / "children").read_text().split()))
    return {pid}.union(*map(descendants, children))


def command_line(pid: int) -> str:
    """Empty for a process that has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_until_gone(pids: set[int]) -> None:
    wait_until(lambda: not any(map(command_line, pids)))


def wait_until(true: Callable[[], bool], *, seconds: float = 10, pause: float = 0.05) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so after {seconds} seconds"
        time.sleep(pause)
