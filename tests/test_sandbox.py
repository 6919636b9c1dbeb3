"""Whatever a decoder does in its cage, the worker gets a verdict or a fault, and goes on."""

import json
import os
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from media_api import examination, imaging, sandbox, seccomp
from media_api.exceptions import (
    DecoderCrashed,
    DecoderFailed,
    Empty,
    NotAnImage,
    TooComplex,
    Truncated,
    Verdict,
)
from media_api.models import Upload
from media_api.sandbox import PATIENCE, Facts, Sandbox, understand
from media_api.storage import ImageStorage
from media_api.stripping import Cut

from . import pictures
from .breakouts import BREAKOUTS
from .sending import send_directly
from .test_imaging import GOOD, LIMITS

MiB = 1024 * 1024
TOO_COMPLEX = {"allocates", "spins", "closes_its_answer_and_spins"}
WITHOUT_A_SYSTEM_CALL = {
    "waits_for_ever",
    "fails",
    "writes_without_end",
    "changes_its_picture",
    "prints_rubbish",
    "says_nothing",
}


@pytest.fixture(scope="module")
def cage() -> Iterator[Sandbox]:
    """The product's own."""
    cage = Sandbox()
    yield cage
    cage.close()


@pytest.fixture(scope="module")
def leaky() -> Iterator[Sandbox]:
    """One whose decoder does what a picture tells it."""
    cage = Sandbox("tests.breakouts")
    yield cage
    cage.close()


def look(cage: Sandbox, body: bytes, *, timeout: float = 10, memory: int = 1536 * MiB) -> Facts:
    with tempfile.TemporaryFile() as file:
        file.write(body)
        return cage.examine(file, limits=LIMITS, timeout=timeout, memory=memory)


def server_of(cage: Sandbox) -> int:
    assert cage.server is not None
    return cage.server.process.pid


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 2
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- what is no attack


@pytest.mark.parametrize("name", GOOD)
def test_a_child_says_the_same_as_the_process_itself(cage: Sandbox, name: str) -> None:
    body = GOOD[name] + b"and more"
    facts = look(cage, body)
    assert facts == imaging.examine(BytesIO(body), limits=LIMITS)
    assert facts.cuts


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (b"", Empty),
        (b"no picture", NotAnImage),
        (pictures.truncated(pictures.png()), Truncated),
        (pictures.with_scans(101), TooComplex),
    ],
)
def test_a_verdict_arrives(cage: Sandbox, body: bytes, verdict: type[Verdict]) -> None:
    with pytest.raises(verdict) as refused:
        look(cage, body)
    assert refused.value.detail == verdict.sentence


def test_the_position_in_the_file_stays(cage: Sandbox) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(pictures.jpeg())
        file.seek(7)
        cage.examine(file, limits=LIMITS, timeout=10, memory=1536 * MiB)
        assert file.tell() == 7


def test_a_large_picture_fits_into_the_default_memory(cage: Sandbox) -> None:
    assert look(cage, pictures.png(12_000, 4000, compress_level=1), timeout=30).width == 12_000


def test_little_memory_is_a_verdict(cage: Sandbox) -> None:
    with pytest.raises(TooComplex):
        look(cage, pictures.png(6000, 6000, compress_level=1), memory=200 * MiB)


def test_a_server_has_nothing_to_give_away(cage: Sandbox) -> None:
    look(cage, pictures.jpeg())
    server = Path(f"/proc/{server_of(cage)}")
    assert (server / "environ").read_bytes() == b"GLIBC_TUNABLES=glibc.malloc.hugetlb=1\0"
    assert len(list((server / "task").iterdir())) == 1
    wait_until(lambda: not children_of(server_of(cage)))
    opened = {
        int(descriptor.name): str(descriptor.readlink()).split(":")[0]
        for descriptor in (server / "fd").iterdir()
    }
    del opened[2]  # stderr is the worker's
    assert opened == {0: "/dev/null", 1: "/dev/null", 3: "socket"}


# --- what is


@pytest.mark.skipif(not seccomp.is_available(), reason="this system has no seccomp filters")
@pytest.mark.parametrize("name", BREAKOUTS)
def test_a_breakout_ends_within_its_limit(leaky: Sandbox, name: str) -> None:
    look(leaky, pictures.jpeg())
    server = server_of(leaky)
    began = time.monotonic()
    with pytest.raises(TooComplex if name in TOO_COMPLEX else DecoderCrashed) as end:
        look(leaky, name.encode(), timeout=0.5)
    if (
        name not in TOO_COMPLEX | WITHOUT_A_SYSTEM_CALL
    ):  # the filter ended it, and not a limit or luck
        assert str(end.value) == f"It ended with {-signal.SIGSYS}."
    assert time.monotonic() - began < PATIENCE + 1
    began = time.monotonic()
    assert look(leaky, pictures.jpeg()).width == 64
    assert time.monotonic() - began < 1
    assert server_of(leaky) == server
    wait_until(lambda: not children_of(server))


def test_a_fault_of_ours_says_where(leaky: Sandbox) -> None:
    with pytest.raises(DecoderFailed, match=r"RuntimeError\('no verdict'\) at fails:\d+ < examine"):
        look(leaky, b"fails")


def test_waiting_is_the_machines_fault_and_no_verdict(leaky: Sandbox) -> None:
    with pytest.raises(DecoderFailed, match="in time"):
        look(leaky, b"waits_for_ever", timeout=0.5)


def test_a_picture_cannot_be_changed_by_its_child(leaky: Sandbox) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"changes_its_picture")
        with pytest.raises(DecoderCrashed):
            leaky.examine(file, limits=LIMITS, timeout=5, memory=1536 * MiB)
        file.seek(0)
        assert file.read() == b"changes_its_picture"


@pytest.mark.skipif(not seccomp.is_available(), reason="this system has no seccomp filters")
def test_a_crash_is_counted_and_the_third_is_the_last(
    api: APIClient, storage: ImageStorage, leaky: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "examine", leaky.examine)
    upload_id = send_directly(api, b"opens_a_file").json()["id"]
    for crash in (1, 2):
        with pytest.raises(DecoderCrashed):
            examination.examine(uuid.UUID(upload_id))
        assert Upload.objects.get().crashes == crash
    examination.examine(uuid.UUID(upload_id))
    assert Upload.objects.get().error_code == "too_complex"


def test_a_fault_of_ours_is_never_a_verdict(
    api: APIClient, storage: ImageStorage, leaky: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "examine", leaky.examine)
    upload_id = send_directly(api, b"fails").json()["id"]
    for _ in range(examination.MAX_ATTEMPTS - 1):
        with pytest.raises(DecoderFailed):
            examination.examine(uuid.UUID(upload_id))
    examination.examine(uuid.UUID(upload_id))
    upload = Upload.objects.set_aside().get()
    assert (upload.crashes, upload.error_detail) == (0, examination.FAILED)
    assert storage.size_of(upload.key)


# --- lies


def told(**changes: Any) -> bytes:
    """What a child says of a good picture, but for a few things."""
    facts = imaging.examine(BytesIO(pictures.jpeg(700, 500)), limits=LIMITS)
    bodies = [rendition.body for rendition in facts.renditions]
    header = asdict(facts) | {"renditions": [len(body) for body in bodies]} | changes
    return b"\n".join([json.dumps(header).encode(), b"".join(bodies)])


def test_the_truth_is_understood() -> None:
    assert understand(told(), 0, LIMITS, size=1000).width == 700
    facts = understand(told(cuts=[[0, 9, "ff00", 3], [9, 1000, "", 0]]), 0, LIMITS, size=1000)
    assert facts.cuts == (Cut(0, 9, b"\xff\0", 3), Cut(9, 1000))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n",
        b"null",
        b"1",
        b"[]",
        b'"verdict"',
        b'{"verdict": "rate_limited"}',
        b'{"verdict": []}',
        b'{"verdict": null}',
        b"{}",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"width": 1' + b"0" * 5000 + b"}",
        told()[:-1],
        told() + b"more",
        told().replace(b"WEBP", b"HTML"),
        told().replace(b"RIFF", b"<!--"),
        told(content_type="text/html"),
        told(content_type=["image/jpeg"]),
        told(extension="html"),
        told(extension="png"),
        told(width=-700),
        told(width=0),
        told(width=True),
        told(width="700"),
        told(width=700.0),
        told(width=None),
        told(width=1_000_000, height=1_000_000),
        told(width=701, height=600),
        told(width=300, height=200),
        told(frames=0),
        told(frames=501),
        told(frames=10**300),
        told(width=70_000, height=3000, frames=2),
        told(placeholder="https://example.com/"),
        told(placeholder="data:image/svg+xml;base64,AAAAAAAAAAAAAAAAAAAA"),
        told(placeholder='data:image/webp;base64,AAAAAAAAAAAAAAAA" onload="'),
        told(placeholder="data:image/webp;base64," + "A" * 10_000),
        told(placeholder=1),
        told(renditions=[]),
        told(renditions=5),
        told(renditions="12"),
        told(renditions=[-1, 1]),
        told(renditions=[1, 10**9]),
        told(renditions={"320": 1, "640": 2}),
        told(cuts=None),
        told(cuts=1),
        told(cuts="12"),
        told(cuts={"0": 1}),
        told(cuts=[[0, 10, ""]]),
        told(cuts=[[0, 1001, "", 0]]),
        told(cuts=[[-1, 10, "", 0]]),
        told(cuts=[[10, 9, "", 0]]),
        told(cuts=[[0, 10, "", 0], [9, 20, "", 0]]),
        told(cuts=[[20, 30, "", 0], [0, 10, "", 0]]),
        told(cuts=[[0, True, "", 0]]),
        told(cuts=[[0.0, 10, "", 0]]),
        told(cuts=[[0, 10, "", 11]]),
        told(cuts=[[0, 10, "", -1]]),
        told(cuts=[[0, 10, "no", 0]]),
        told(cuts=[[0, 10, None, 0]]),
        told(cuts=[[0, 10, "00" * 129, 0]]),
        told(cuts=[[5, 5, "", 0]] * 5001),
        b'{"fault": "' + b"x" * 10_000 + b'"}',
    ],
)
def test_a_lie_is_a_crash(answer: bytes) -> None:
    with pytest.raises(DecoderCrashed):
        understand(answer, 0, LIMITS, size=1000)


def test_processor_time_is_a_verdict_and_other_signals_are_crashes() -> None:
    with pytest.raises(TooComplex):
        understand(b"", -signal.SIGXCPU, LIMITS, size=1000)
    for signal_number in (signal.SIGSEGV, signal.SIGSYS):
        with pytest.raises(DecoderCrashed) as crash:
            understand(told(), -signal_number, LIMITS, size=1000)
        assert crash.type is DecoderCrashed
    with pytest.raises(DecoderFailed):
        understand(told(), -signal.SIGKILL, LIMITS, size=1000)


# --- the server


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_died_is_started_again(leaky: Sandbox, stop: signal.Signals) -> None:
    look(leaky, pictures.jpeg())
    before = server_of(leaky)
    os.kill(before, stop)
    assert look(leaky, pictures.jpeg()).width == 64
    assert server_of(leaky) != before


def test_a_server_that_dies_at_work_takes_its_children_along(leaky: Sandbox) -> None:
    look(leaky, pictures.jpeg())
    server = server_of(leaky)
    with ThreadPoolExecutor() as threads:
        spinning = threads.submit(look, leaky, b"spins", timeout=1)
        wait_until(lambda: bool(children_of(server)))
        (child,) = children_of(server)
        os.kill(server, signal.SIGKILL)
        with pytest.raises(TooComplex):  # another server had a second go
            spinning.result()
    with suppress(FileNotFoundError):  # or whoever adopted it has not buried it yet
        assert Path(f"/proc/{child}/stat").read_text().split()[2] == "Z"


def test_a_server_ends_with_its_worker() -> None:
    """However that dies: here the end of their socket is all that it sees."""
    cage = Sandbox()
    look(cage, pictures.jpeg())
    assert cage.server is not None
    cage.server.control.close()
    assert cage.server.process.wait(2) == 0
    cage.close()


def test_a_server_that_cannot_start_is_a_fault() -> None:
    with pytest.raises(DecoderFailed):
        look(Sandbox("json.nothing"), pictures.jpeg())


def test_threads_get_the_answers_to_their_own_pictures(leaky: Sandbox) -> None:
    def ask(number: int) -> int:
        with pytest.raises(DecoderCrashed):
            look(leaky, b"crashes")
        return look(leaky, pictures.jpeg(100 + number, 50)).width

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(24))) == list(range(100, 124))


def test_threads_that_begin_together_start_one_server() -> None:
    cage, begin = Sandbox(), threading.Barrier(4)

    def ask(_: int) -> int:
        begin.wait()
        look(cage, pictures.jpeg())
        return server_of(cage)

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(ask, range(4)))) == 1
    cage.close()


def test_nothing_is_left_after_fifty_pictures(leaky: Sandbox) -> None:
    def left() -> tuple[int, int, list[str]]:
        server = server_of(leaky)
        ours, theirs = (
            len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (os.getpid(), server)
        )
        return ours, theirs, children_of(server)

    look(leaky, pictures.jpeg())
    wait_until(lambda: not left()[2])
    before = left()
    for number in range(50):
        with pytest.raises(Verdict) if number % 2 else pytest.raises(DecoderCrashed):
            look(leaky, b"no picture" if number % 2 else b"says_nothing")
    wait_until(lambda: left() == before)
