"""The service is killed once at every point, while clients go on; then everything is as they were told."""

import signal
from collections.abc import Iterator
from io import BytesIO
from typing import get_args

import pytest

from media_api.faults import Point
from tests.chaos.history import State
from tests.chaos.run import COMMANDS, Plan, Run
from tests.services import BUCKET_NAME

POINTS = [point for point in get_args(Point) if point not in COMMANDS]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    run = Run(tmp_path_factory.mktemp("points"), "rclone", seed="points")
    yield run
    run.close()


def test_nothing_is_lost_or_left_over_wherever_it_is_killed(run: Run) -> None:
    with run.load():
        not_reached = [point for point in POINTS if not run.inject(Plan(point, "kill"), seconds=60)]
    run.settle()
    assert not_reached == []
    assert run.found() == []


def test_what_an_operator_repairs_is_repaired_by_the_next_command(run: Run) -> None:
    kept = next(p.id for p in run.history.pictures if p.id and p.possible == {State.KEPT})
    run.deployment.execute("DELETE FROM media_api_image WHERE id = %s", kept)
    run.deployment.execute("DELETE FROM media_api_pendingdeletion WHERE id = %s", kept)
    killed_then_done(run, "adoptable_found", "--adopt")
    assert run.found() == []

    run.deployment.root.put_object(BUCKET_NAME, f"images/{kept}/notes.txt", BytesIO(b"x"), 1)
    killed_then_done(run, "unknown_found", "--remove-unknown", "--grace=0", "--at-most=1")
    assert run.found() == []


def killed_then_done(run: Run, point: Point, *options: str) -> None:
    first = run.deployment.command("fsck", *options)
    assert run.hit(Plan(point, "kill"))
    assert first.wait(60) == -signal.SIGKILL
    assert run.deployment.command("fsck", *options).wait(120) == 1  # it found, and did, something
    assert run.deployment.command("fsck").wait(120) == 0
