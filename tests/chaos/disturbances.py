"""What happens to a deployment from outside: to its processes, its database, its bucket, the way to the bucket."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg

from tests import faulty
from tests.chaos.deployment import Deployment
from tests.faulty import Fault

Disturbance = Callable[[Deployment, random.Random], None]

SHORT, LONG = 1.0, 8.0  # seconds
POSTGRES, STORE, WEB, WORKER = "bin/postgres", "server", "granian", "procrastinate worker"
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"


def signalled(name: str, number: signal.Signals, *, count: int | None = None) -> Disturbance:
    """The processes of this name, or so many of them, get a signal; the supervisor starts them again."""

    def disturb(deployment: Deployment, dice: random.Random) -> None:
        pids = deployment.pids(name)
        send(number, *dice.sample(pids, min(count or len(pids), len(pids))))

    return disturb


def absent(name: str) -> Disturbance:
    """Killed, and not started again for a while."""

    def disturb(deployment: Deployment, dice: random.Random) -> None:
        with stopped(deployment.pid):
            send(signal.SIGKILL, *deployment.pids(name))
            time.sleep(dice.uniform(SHORT, LONG))

    return disturb


def frozen(name: str) -> Disturbance:
    def disturb(deployment: Deployment, dice: random.Random) -> None:
        with stopped(*deployment.pids(name)):
            time.sleep(dice.uniform(SHORT, LONG))

    return disturb


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    send(signal.SIGSTOP, *pids)
    try:
        yield
    finally:
        send(signal.SIGCONT, *pids)


def send(number: signal.Signals, *pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def crash_loop(deployment: Deployment, dice: random.Random) -> None:
    """No worker lives for longer than it takes to begin a job."""
    end = time.monotonic() + 2 * LONG
    while time.monotonic() < end:
        send(signal.SIGKILL, *deployment.pids(WORKER))
        time.sleep(dice.uniform(SHORT, 4 * SHORT))


def cut_connections(deployment: Deployment, dice: random.Random) -> None:
    with suppress(psycopg.OperationalError):
        deployment.execute(CUT)


def on_the_way_to_the_bucket(fault: Fault) -> Disturbance:
    def disturb(deployment: Deployment, dice: random.Random) -> None:
        with deployment.bucket.failing(fault):
            time.sleep(dice.uniform(SHORT, LONG))

    return disturb


DISTURBANCES: dict[str, Disturbance] = {
    "Postgres is stopped": signalled(POSTGRES, signal.SIGINT),
    "Postgres is stopped at once": signalled(POSTGRES, signal.SIGQUIT),
    "Postgres is killed": signalled(POSTGRES, signal.SIGKILL),
    "Postgres is away": absent(POSTGRES),
    "Postgres is frozen": frozen("postgres"),
    "all connections to Postgres are cut": cut_connections,
    "the store is killed": signalled(STORE, signal.SIGKILL),
    "the store is away": absent(STORE),
    "the store is frozen": frozen(STORE),
    "a web process is killed": signalled(WEB, signal.SIGKILL, count=1),
    "all web processes are killed": signalled(WEB, signal.SIGKILL),
    "the web server is told to end": signalled(WEB, signal.SIGTERM),
    "a worker is killed": signalled(WORKER, signal.SIGKILL, count=1),
    "all workers are killed": signalled(WORKER, signal.SIGKILL),
    "the workers are told to end": signalled(WORKER, signal.SIGTERM),
    "all workers are frozen": frozen(WORKER),
    "the workers crash again and again": crash_loop,
    **{
        f"the bucket: {fault.__name__.replace('_', ' ')}": on_the_way_to_the_bucket(fault)
        for fault in (
            faulty.refused,
            faulty.reset,
            faulty.black_hole,
            faulty.late,
            faulty.slow,
            faulty.cut_short,
            faulty.shortened,
            faulty.flipped,
            faulty.flipped_on_the_way_up,
            faulty.answer_lost,
            faulty.slow_down,
            faulty.full,
            faulty.without_bucket,
            faulty.emptied,
            faulty.somebody_else,
            faulty.captured,
        )
    },
}
