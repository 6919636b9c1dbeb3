"""Named points at which a test run kills the process, stops it or makes it fail, to see that nothing is lost.

Off, a point is one comparison. FAULTS names the folder of the plans: a file with the name of a point says what happens
there and at which hit, `kill 2`. Any process may be the one that gets there; the plan is then renamed to `<point>.hit`,
and says which process it was.
"""

import fcntl
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, cast

Point = Literal[
    # an upload, as the client sees it
    "announcing",
    "announced",
    "parts_begun",
    "presigned",
    "put_half",
    "put",
    "complete_received",
    "parts_joined",
    "staging",
    "staged",
    "withdrawn",
    # its job
    "job_taken",
    "object_half_read",
    "hashed",
    "in_the_cage",
    "hash_settled",
    "object_to_keep",
    "object_kept",
    "keeping",
    "kept",
    "refusing",
    "refused",
    # an image
    "changed",
    "describing",
    "trashed",
    "old_trash_found",
    "deleting",
    "deleted",
    "purge_due",
    "object_removed",
    "purged",
    # what runs by the clock, or when an operator says so
    "overdue_found",
    "expired",
    "staging_listed",
    "left_over_found",
    "stalled_found",
    "waiting_listed",
    "content_read",
    "turn_begun",
    "original_fetched",
    "adoptable_found",
    "unknown_found",
    # a backup, and back
    "rows_written",
    "object_copied",
    "object_put_back",
    "rows_loaded",
]

TEST_RUN = (
    "this-is-a-test-run"  # a file in the folder; without it nothing happens where DEBUG is off
)
PAUSE = 0.02

folder: Path | None = None  # set when Django is ready


def folder_of(setting: str, *, debug: bool) -> Path | None:
    """The folder that FAULTS names, if it may be heeded."""
    path = Path(setting)
    return path if setting and (debug or (path / TEST_RUN).exists()) else None


def fault_point(point: Point) -> None:
    if folder is not None:
        _reach(folder / point)


def halfway(point: Point, file: IO[bytes]) -> IO[bytes]:
    """The same file, but a point lies in the middle of it."""
    return file if folder is None else cast(IO[bytes], _Halfway(point, file))


class _Halfway:
    def __init__(self, point: Point, file: IO[bytes]) -> None:
        self.point, self.file = point, file
        self.left = file.seek(0, os.SEEK_END) // 2
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        if self.left <= 0:
            return self.file.read(size)
        piece = self.file.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(piece)
        if self.left <= 0:
            fault_point(self.point)
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


# --- plans ----------------------------------------------------------------------------------------


def _reach(plan: Path) -> None:
    action = _due(plan)
    if action:
        ACTIONS[action](plan.with_suffix(".hit"))


def _due(plan: Path) -> str | None:
    """The action, if this hit is the one; of many processes one counts at a time."""
    with suppress(FileNotFoundError), plan.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        action, number = file.read().split()
        if action == "hit":  # by another, while this one waited
            return None
        is_due = int(number) <= 1
        file.seek(0)
        file.write(f"hit {os.getpid()}" if is_due else f"{action} {int(number) - 1}")
        file.truncate()
        if is_due:
            plan.rename(plan.with_suffix(".hit"))
            return action
    return None


def _signal(number: signal.Signals, _: Path) -> None:
    os.kill(os.getpid(), number)


def _raise(hit: Path) -> None:
    from django.db import OperationalError  # the sandbox imports this module, and no Django

    raise OperationalError(f"a planned fault: {hit.stem}")


def _hang(hit: Path) -> None:
    """Until somebody removes the file."""
    while hit.exists():
        time.sleep(PAUSE)


def _exit_after_commit(_: Path) -> None:
    from django.db import transaction

    transaction.on_commit(partial(os._exit, 1))


ACTIONS: dict[str, Callable[[Path], None]] = {
    "kill": partial(_signal, signal.SIGKILL),
    "stop": partial(_signal, signal.SIGSTOP),
    "raise": _raise,
    "hang": _hang,
    "exit": _exit_after_commit,
}
