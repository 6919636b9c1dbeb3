"""The service is killed once at every point, while clients go on; then everything is as they were told."""

from collections.abc import Iterator
from typing import get_args

import pytest

from media_api.faults import Point
from tests.chaos.run import COMMANDS, Plan, Run

POINTS = [point for point in get_args(Point) if point not in COMMANDS]


@pytest.fixture
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
