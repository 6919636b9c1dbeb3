"""A service under load that is disturbed, then left in peace, then looked at."""

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import LiteralString, get_args

from media_api.faults import Point
from tests.chaos.checker import Checker
from tests.chaos.clients import Client
from tests.chaos.deployment import OWNERS, WORKERS, Deployment
from tests.chaos.history import History
from tests.serving import command_line, wait_until

SWEEPS = [
    "expire_overdue",
    "sweep_staging",
    "purge_due",
    "empty_old_trash",
    "check_content",
    "enqueue_forgotten",
]
PERIODIC = [
    *SWEEPS,
    "take_turn",
    "retry_stalled",
    "forget_throttles",
    "forget_idempotency_keys",
    "forget_sign_ins",
]
COMMANDS = (  # points that only an operator's command gets to
    "adoptable_found",
    "unknown_found",
    "rows_written",
    "object_copied",
    "object_put_back",
    "rows_loaded",
)
TURN = 30  # seconds
REST = 120  # seconds in which one thing more must have come to its end
HOLD_WEB = 8.0  # seconds that a web process is held up; what it was asked shall be answered in 30
HOLD_WORKER = (2.0, 10.0, 45.0)  # in the last of them others take its jobs over


@dataclass(frozen=True)
class Plan:
    """An action at the n-th hit of a point."""

    point: Point
    action: str
    number: int = 1


class Run:
    """One deployment, its clients, and what happens to them; all that is chosen is chosen by the seed."""

    def __init__(self, folder: Path, store: str, *, seed: str, workers: int = WORKERS) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.deployment = Deployment(folder / "deployment", store, workers=workers)
        self.history = History(folder / "history.jsonl")
        self.timers: list[threading.Timer] = []

    def close(self) -> None:
        self.deployment.close()
        self.history.close()

    # --- load -----------------------------------------------------------------------------------

    @contextmanager
    def load(self) -> Iterator[None]:
        """Clients that send, change and delete; and the clock, which goes faster than the worker's own."""
        threads: list[Client | Clock] = [
            Client(owner, self.deployment, self.history, self.seed) for owner in OWNERS
        ]
        threads.append(Clock(self.deployment, random.Random(self.seed)))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            for thread in threads:
                thread.done.set()
            self.heal()
            for thread in threads:
                thread.join()

    # --- disturbing -----------------------------------------------------------------------------

    def inject(self, plan: Plan, *, seconds: float = 45) -> bool:
        """Do it at the next occasion; whether there was one."""
        hit = self.hit(plan, seconds=seconds)
        if hit:
            self.release_later(hit)
        return hit is not None

    def hit(self, plan: Plan, *, seconds: float = 45) -> Path | None:
        """Where it says who was hit; that one is not released."""
        path = self.deployment.plans / plan.point
        hit = path.with_suffix(".hit")
        hit.unlink(missing_ok=True)
        path.with_suffix(".new").write_text(f"{plan.action} {plan.number}")
        path.with_suffix(".new").rename(path)
        with suppress(AssertionError):
            wait_until(hit.exists, seconds=seconds)
        path.unlink(missing_ok=True)
        return hit if hit.exists() else None

    def release_later(self, hit: Path) -> None:
        """What was stopped, or hangs, goes on after a while."""
        pid = int(hit.read_text().split()[1])
        is_web = "granian" in command_line(pid)
        hold = HOLD_WEB if is_web else self.dice.choice(HOLD_WORKER)
        timer = threading.Timer(hold, release, [pid, hit])
        timer.daemon = True
        timer.start()
        self.timers.append(timer)

    def heal(self) -> None:
        """No plan is left, and whoever was held goes on."""
        for timer in self.timers:
            timer.cancel()
            release(*timer.args)
        self.timers.clear()
        for plan in self.deployment.plans.iterdir():
            if plan.name in get_args(Point) or plan.suffix == ".hit":
                plan.unlink(missing_ok=True)

    # --- and then peace -------------------------------------------------------------------------

    def settle(self) -> None:
        """Until nothing is under way: every upload has its end, every sweep has been, twice where it looks twice.

        What does not come to its end is left to the checker to name.
        """
        self.heal()
        wait_until(self.deployment.is_ready, seconds=REST)
        execute = self.deployment.execute
        if execute("SELECT 1 FROM media_api_upload WHERE state = 'staged' AND error_code <> ''"):
            self.deployment.command("retry").wait(REST)  # as an operator would
        with suppress(AssertionError):
            self.until_none("SELECT 1 FROM media_api_upload WHERE state = 'staged'")
            execute("UPDATE media_api_upload SET expires_at = now() WHERE state = 'announced'")
            execute("UPDATE media_api_image SET checked_at = now() - interval '8 days'")
            self.until_none("SELECT 1 FROM media_api_upload WHERE state = 'announced'")
            self.until_none(
                "SELECT 1 FROM media_api_image WHERE checked_at < now() - interval '7 days'"
            )
            for _ in range(2):
                execute("UPDATE media_api_pendingdeletion SET due_at = now()")
                self.until_none("SELECT 1 FROM media_api_pendingdeletion WHERE due_at <= now()")
            self.until_none("SELECT 1 FROM procrastinate_jobs WHERE task_name <> ALL(%s)", PERIODIC)

    def until_none(self, statement: LiteralString, *values: object) -> None:
        """With all that the clock and the patience of jobs would do in time; as long as there are ever fewer."""
        fewest, deadline = sys.maxsize, 0.0
        while True:
            self.deployment.execute("UPDATE procrastinate_jobs SET scheduled_at = NULL")
            sweep(self.deployment, {"todo", "doing"})
            rows = len(self.deployment.execute(statement, *values))
            if not rows:
                return
            if rows < fewest:
                fewest, deadline = rows, time.monotonic() + REST
            assert time.monotonic() < deadline, f"{rows} rows are left of: {statement}"
            time.sleep(0.5)

    def found(self) -> list[str]:
        return Checker(self.deployment, self.history).found()


def release(pid: int, hit: Path) -> None:
    hit.unlink(missing_ok=True)  # who hangs there looks for it
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


class Clock(threading.Thread):
    """What happens by the clock happens all the time; and now and then a rendition is lost, to be made again."""

    def __init__(self, deployment: Deployment, dice: random.Random) -> None:
        super().__init__(name="clock", daemon=True)
        self.deployment, self.dice = deployment, dice
        self.done = threading.Event()

    def run(self) -> None:
        for second in count():
            if self.done.wait(1):
                return
            sweep(self.deployment, {"todo"})
            if second % TURN == 0:
                add(self.deployment, "take_turn", {"todo"})
            if self.dice.random() < 0.3:
                self.lose_a_rendition()

    def lose_a_rendition(self) -> None:
        found = self.deployment.execute(
            "UPDATE media_api_image SET checked_at = now() - interval '8 days' WHERE id ="
            " (SELECT id FROM media_api_image ORDER BY random() LIMIT 1) RETURNING id, sides[1]"
        )
        for image_id, side in found:
            self.deployment.lose(f"images/{image_id}/{side}.webp")


def sweep(deployment: Deployment, unless: set[str]) -> None:
    """Look for what is left over."""
    for task in SWEEPS:
        add(deployment, task, unless)


def add(deployment: Deployment, task: str, unless: set[str]) -> None:
    """Add the job of a task, unless there is one with such a status."""
    deployment.execute(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
        """ SELECT 'default', %s, '{"timestamp": 0}' WHERE NOT EXISTS"""
        " (SELECT FROM procrastinate_jobs WHERE task_name = %s AND status::text = ANY(%s))",
        task,
        task,
        list(unless),
    )
