"""No file stops the service or takes it over: each bomb gets its verdict, or is kept and shown harmlessly."""

import subprocess
import sys
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.conf import settings
from rest_framework.test import APIClient

from media_api.exceptions import Verdict
from media_api.sandbox import Facts, Limits, Sandbox
from media_api.storage import ImageStorage
from tests import pictures
from tests.bombs import BOMBS, HEADER, KEPT, PAYLOADS, PLACES, Bomb, MiB
from tests.conftest import Work, objects
from tests.sending import path_of, read, send

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF")
OTHERS = ("TIFF", "BMP", "PPM", "ICO", "JPEG2000", "TGA", "PCX", "SGI", "EPS")
TRACES = (*PAYLOADS.values(), b"<script", b"<?php", b"%PDF", b"PK\3\4", b"alert(")
LIMITS = Limits(
    max_jpeg_pixels=settings.MAX_JPEG_PIXELS,
    max_pixels=settings.MAX_PIXELS,
    max_frames=settings.MAX_FRAMES,
    max_animation_pixels=settings.MAX_ANIMATION_PIXELS,
    max_scans=settings.MAX_SCANS,
)


@pytest.fixture(scope="module")
def cage() -> Iterator[Sandbox]:
    cage = Sandbox()
    yield cage
    cage.close()


@pytest.fixture(scope="module")
def idle(cage: Sandbox) -> int:
    """Bytes of address space that a child begins with."""
    look(cage, pictures.jpeg())
    assert cage.server is not None
    status = Path(f"/proc/{cage.server.process.pid}/status").read_text()
    return int(status.partition("VmSize:")[2].split()[0]) * 1024


def look(
    cage: Sandbox,
    body: bytes,
    *,
    timeout: float = settings.EXAMINE_TIMEOUT,
    memory: int = settings.EXAMINE_MEMORY,
) -> Facts:
    with tempfile.TemporaryFile() as file:
        file.write(body)
        return cage.examine(file, limits=LIMITS, timeout=timeout, memory=memory)


def verdict_on(cage: Sandbox, body: bytes, **limits: Any) -> str:
    try:
        look(cage, body, **limits)
    except Verdict as verdict:
        return verdict.code
    return KEPT


# --- in the cage


@pytest.mark.parametrize("expected", sorted({bomb.expected for bomb in BOMBS}))
def test_a_bomb_gets_its_verdict(cage: Sandbox, expected: str) -> None:
    bombs = [bomb for bomb in BOMBS if bomb.expected == expected]
    verdicts = {bomb.name: verdict_on(cage, bomb.make()) for bomb in bombs}
    assert verdicts == dict.fromkeys(verdicts, expected)


def test_a_header_is_enough_within_two_seconds_and_300_megabytes(cage: Sandbox, idle: int) -> None:
    """With less of either the verdict would be another: too_complex."""
    shown = {bomb.name: bomb for bomb in BOMBS if bomb.shown_by == HEADER}
    limits = {"timeout": 2, "memory": idle + 300 * MiB}
    verdicts = {name: verdict_on(cage, bomb.make(), **limits) for name, bomb in shown.items()}
    assert verdicts == {name: bomb.expected for name, bomb in shown.items()}


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_refused_takes_less_than_300_megabytes(format: str) -> None:
    command = [sys.executable, "-m", "tests.weighing", format]
    weighed, idle, peak = map(int, subprocess.check_output(command, text=True).split())
    assert weighed >= 10
    assert 20 < idle <= peak < idle + 300


# --- in the service


def representatives() -> list[Bomb]:
    """One of each format and verdict."""
    found = {
        (format, bomb.expected): bomb
        for bomb in BOMBS
        for format in (*FORMATS, "NOTHING")
        if bomb.expected not in (KEPT, "empty") and format in bomb.name.upper()
    }
    return list(found.values())


def test_the_service_refuses_a_bomb_and_nothing_of_it_is_left(
    api: APIClient, storage: ImageStorage, work: Work
) -> None:
    """Whatever its name and its content type say."""
    bombs = representatives()
    answers = [
        send(api, bomb.make(), name="cat.jpg.html", content_type="text/html") for bomb in bombs
    ]
    work()
    for bomb, answer in zip(bombs, answers, strict=True):
        upload = api.get(path_of(answer["Location"])).json()
        assert (upload["state"], upload["error"]["code"]) == ("refused", bomb.expected), bomb.name
    assert objects(storage) == []


def test_what_is_something_else_too_is_served_as_a_picture(api: APIClient, work: Work) -> None:
    payload = b"".join(PAYLOADS.values())
    sent = {
        place: send(api, inside(payload), name="cat.html", content_type="text/html").json()["id"]
        for place, inside in PLACES.items()
    }
    work()
    for place, image_id in sent.items():
        image = read(api, image_id)
        assert image["content_type"].removeprefix("image/").upper() in place.upper()
        original = httpx2.get(image["original"]["url"])
        assert original.content == PLACES[place](payload)
        assert original.headers["content-type"] == image["content_type"]
        drawn = [httpx2.get(rendition["url"]) for rendition in image["renditions"]]
        assert {rendition.headers["content-type"] for rendition in drawn} == {"image/webp"}
        placeholder = b64decode(image["placeholder"].partition(",")[2])
        for shown in (placeholder, *(rendition.content for rendition in drawn)):
            assert not [trace for trace in TRACES if trace in shown], place


# --- what else Pillow could read


@pytest.fixture(scope="module")
def opening() -> Iterator[Sandbox]:
    """A child that asks Pillow to open what it is given, as whatever it may be."""
    cage = Sandbox("tests.opening")
    yield cage
    cage.close()


@pytest.mark.parametrize("format", FORMATS)
def test_a_child_knows_the_formats_that_are_taken(opening: Sandbox, format: str) -> None:
    assert verdict_on(opening, pictures.encoded(pictures.photo(64, 48), format)) == "empty"


@pytest.mark.parametrize("format", OTHERS)
def test_a_child_knows_no_other_format(opening: Sandbox, format: str) -> None:
    body = pictures.encoded(pictures.photo(64, 48), format)
    assert verdict_on(opening, body) == "not_an_image"


# --- memory


@pytest.mark.parametrize(
    "body",
    [
        pictures.jpeg(1200, 900, progressive=True, subsampling=0),
        pictures.webp(1200, 900, method=0),
        pictures.webp(1200, 900, method=0, lossless=True),
        pictures.encoded(pictures.photo(1200, 900, mode="RGBA"), "WEBP", method=0),
        pictures.animation("WEBP", 1200, 900, frames=2),
        pictures.avif(1200, 900),
        pictures.png(1200, 900, compress_level=1),
    ],
    ids=[
        "progressive JPEG",
        "WebP",
        "lossless WebP",
        "transparent WebP",
        "animated WebP",
        "AVIF",
        "PNG",
    ],
)
def test_memory_that_is_not_there_is_never_taken_for_damage(
    cage: Sandbox, idle: int, body: bytes
) -> None:
    verdicts = {verdict_on(cage, body, memory=idle + more * MiB) for more in range(1, 60, 12)}
    assert "too_complex" in verdicts
    assert verdicts <= {"too_complex", KEPT}


@pytest.mark.parametrize(("frames", "canvases"), [(1, 2.5), (2, 3.25)])
def test_a_webp_takes_few_of_its_canvas(
    cage: Sandbox, idle: int, frames: int, canvases: float
) -> None:
    width, height = 16_383, 1000
    body = pictures.animation("WEBP", width, height, frames=frames)
    assert verdict_on(cage, body, memory=idle + int(canvases * 4 * width * height)) == KEPT
