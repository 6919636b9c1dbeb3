"""The points at which a test disturbs the service: what a plan does, and that nobody else can make one."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import get_args

import pytest
from django.core.checks import run_checks
from django.db import OperationalError
from pytest_django import Settings

from media_api import faults
from media_api.faults import TEST_RUN, Point, fault_point, folder_of, halfway
from tests.serving import wait_until
from tests.test_imports import ROOT

POINT: Point = "announced"


@pytest.fixture
def plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(faults, "folder", tmp_path)
    return tmp_path


def plan(plans: Path, text: str, point: str = POINT) -> Path:
    """Where it says so once it was hit."""
    (plans / point).write_text(text)
    return plans / f"{point}.hit"


def test_every_point_is_in_one_place() -> None:
    assert Counter(points_in_the_code()) == dict.fromkeys(get_args(Point), 1)


def points_in_the_code() -> Iterator[str]:
    for file in (ROOT / "media_api").rglob("*.py"):
        yield from re.findall(r'\b(?:fault_point|halfway)\("(\w+)"', file.read_text())


def test_a_point_without_a_plan_does_nothing(plans: Path) -> None:
    plan(plans, "raise 1", "kept")
    fault_point(POINT)
    assert [path.name for path in plans.iterdir()] == ["kept"]


def test_a_plan_says_at_which_hit_and_is_done_once(plans: Path) -> None:
    hit = plan(plans, "raise 3")
    fault_point(POINT)
    fault_point(POINT)
    with pytest.raises(OperationalError, match=POINT):
        fault_point(POINT)
    assert hit.read_text() == f"hit {os.getpid()}"
    fault_point(POINT)


def test_of_many_at_the_same_time_one_is_hit(plans: Path) -> None:
    plan(plans, "raise 10")
    together = threading.Barrier(20)

    def reach(_: int) -> bool:
        together.wait()
        try:
            fault_point(POINT)
        except OperationalError:
            return True
        return False

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(reach, range(20))) == 1


def test_who_hangs_goes_on_when_the_file_is_removed(plans: Path) -> None:
    hit = plan(plans, "hang 1")
    thread = threading.Thread(target=fault_point, args=[POINT])
    thread.start()
    wait_until(hit.exists)
    fault_point(POINT)  # nobody else waits
    assert thread.is_alive()
    hit.unlink()
    thread.join(5)
    assert not thread.is_alive()


WALK = """
import sys
from pathlib import Path
import django
django.setup()
from django.db import transaction
from media_api import faults
faults.folder = Path(sys.argv[1])
with transaction.atomic():
    faults.fault_point("announced")
    transaction.on_commit(lambda: print("committed", flush=True))
    print("reached", flush=True)
print("beyond", flush=True)
"""


def walk(plans: Path) -> "subprocess.Popen[str]":
    """A process that gets to the point inside a transaction."""
    return subprocess.Popen(
        [sys.executable, "-c", WALK, plans], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


@pytest.mark.parametrize(
    ("action", "code", "said"),
    [("kill", -signal.SIGKILL, ""), ("exit", 1, "reached\n")],
)
def test_a_process_ends_at_the_point_or_when_it_has_committed(
    plans: Path, action: str, code: int, said: str
) -> None:
    hit = plan(plans, f"{action} 1")
    process = walk(plans)
    assert process.communicate(timeout=30)[0] == said
    assert process.returncode == code
    assert hit.read_text() == f"hit {process.pid}"


def test_a_process_that_was_stopped_goes_on_when_it_is_told(plans: Path) -> None:
    hit = plan(plans, "stop 1")
    process = walk(plans)
    wait_until(lambda: hit.exists() and is_stopped(process.pid), seconds=30)
    os.kill(process.pid, signal.SIGCONT)
    assert process.communicate(timeout=30)[0] == "reached\ncommitted\nbeyond\n"


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("piece", [-1, 1, 3, 64])
def test_the_middle_of_a_file_is_reached_when_half_of_it_was_read(plans: Path, piece: int) -> None:
    body = bytes(range(11))
    file = halfway("put_half", BytesIO(body))
    hit = plan(plans, "hang 1", "put_half")
    read = bytearray()

    def read_all() -> None:
        while chunk := file.read(piece):
            read.extend(chunk)

    thread = threading.Thread(target=read_all)
    thread.start()
    wait_until(hit.exists)
    assert len(read) < len(body) / 2
    hit.unlink()
    thread.join(5)
    assert read == body


def test_off_a_file_is_itself() -> None:
    file = BytesIO(b"x")
    assert halfway("put_half", file) is file


def test_faults_are_heeded_in_a_test_run_only(tmp_path: Path, settings: Settings) -> None:
    path = str(tmp_path)
    assert folder_of("", debug=True) is None
    assert folder_of(path, debug=False) is None
    assert folder_of(path, debug=True) == tmp_path
    settings.FAULTS = path
    assert "media_api.E003" in {message.id for message in run_checks()}
    (tmp_path / TEST_RUN).touch()
    assert folder_of(path, debug=False) == tmp_path


def test_a_service_that_was_told_of_faults_by_mistake_does_not_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        env=os.environ | {"FAULTS": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "media_api.E003" in done.stderr
