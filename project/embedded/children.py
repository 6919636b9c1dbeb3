"""The processes that `serve` and the tests start, and that must not outlive them.

Each has a process group of its own: Ctrl-C reaches its parent alone, who stops its children in an
order. And each asks Linux for a signal at the death of its parent, however that dies. By parent the
kernel means a thread (prctl(2), PR_SET_PDEATHSIG): start children from the main thread.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1
LOG_LIMIT = 1024 * 1024
MINIMAL_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}  # for what is not Python
_libc = ctypes.CDLL(None)


class NotStarted(Exception):
    """A child did not come up; the sentence carries its own last words."""


class Child:
    stop_signal = signal.SIGTERM
    patience = 3.0  # seconds between the stop signal and SIGKILL
    orphan_signal = signal.SIGTERM

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        user: int | None = None,
    ) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.log = log
        self.user = user
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        output = _append(self.log) if self.log else None
        try:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
                preexec_fn=self._die_with_parent,
            )
        finally:
            if output:
                output.close()

    def _die_with_parent(self) -> None:
        _libc.prctl(PR_SET_PDEATHSIG, self.orphan_signal)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.process.poll() if self.process else None

    def wait_until(self, ready: Callable[[], bool], *, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if self.exit_code is not None:
                raise NotStarted(f"{self.name} did not start.{self._last_words()}")
            if time.monotonic() > deadline:
                raise NotStarted(f"{self.name} did not answer in {seconds:.0f} seconds.")
            time.sleep(0.05)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log else []
        return f" {self.log} ends: {lines[-1]}" if lines else ""

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(self.stop_signal)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(self.patience)
        self.kill()

    def kill(self) -> None:
        """End what is left of the group: workers that outlive their server would keep its port."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _append(log: Path) -> IO[bytes]:
    """The log opened for more, begun anew when it has grown long."""
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    grown = log.exists() and log.stat().st_size > LOG_LIMIT
    return log.open("wb" if grown else "ab")
