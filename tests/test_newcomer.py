"""What a newcomer does with the whole service: web server, worker, Postgres and bucket as processes of their own."""

import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from project.embedded.addresses import free_port
from tests import pictures
from tests.services import HOST
from tests.serving import READY, Service, descendants

ROOT = Path(__file__).resolve().parent.parent
MiB = 1024 * 1024


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("newcomer")
    service = Service(folder / "data", port=free_port(HOST), WEB_WORKERS="1")
    service.start()
    service.wait_for(READY)
    yield service
    service.kill()


@pytest.fixture(scope="module")
def api(service: Service) -> Iterator[httpx2.Client]:
    key = service.manage("apikey", "create", "admin", "--scope", "read", "--scope", "write")
    with httpx2.Client(
        base_url=f"http://{HOST}:{service.port}/api/v1",
        headers={"Authorization": f"Bearer {key.stdout.strip()}"},
        timeout=60,
        trust_env=False,
    ) as client:
        yield client


def send(api: httpx2.Client, body: bytes, name: str = "cat.jpg") -> dict[str, Any]:
    answer = api.post("/images?wait=25", files={"file": (name, body)})
    assert answer.status_code == 201, answer.text
    image: dict[str, Any] = answer.json()
    return image


def test_a_picture_is_kept_while_its_sender_waits(api: httpx2.Client) -> None:
    body = pictures.jpeg(700, 500)
    image = send(api, body)
    assert image["sha256"] == hashlib.sha256(body).hexdigest()
    assert httpx2.get(image["original"]["url"]).content == body
    assert [rendition["side"] for rendition in image["renditions"]] == [320, 640]


def test_the_link_of_a_deleted_image_is_dead_within_five_seconds(api: httpx2.Client) -> None:
    image = send(api, pictures.jpeg())
    link = image["original"]["url"]
    assert httpx2.get(link).status_code == 200
    assert api.delete(f"/images/{image['id']}?permanent=true").status_code == 204
    deadline = time.monotonic() + 5
    while httpx2.get(link).status_code != 404:
        assert time.monotonic() < deadline, "the link still shows the image"
        time.sleep(0.1)


def test_a_hundred_mebibytes_cost_the_web_process_less_than_32(
    service: Service, api: httpx2.Client
) -> None:
    body = pictures.large(100 * MiB)
    send(api, pictures.png())  # what is loaded at the first upload counts as idle
    server = service.child("granian")
    (web,) = descendants(server) - {server}
    before = forget_peak(web)
    image = send(api, body, "large.png")
    assert image["size"] == len(body)
    assert peak(web) - before < 32 * MiB


def forget_peak(pid: int) -> int:
    """Bytes of resident memory now; the kernel's record of the highest begins anew (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak(pid)


def peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match, status
    return int(match[1]) * 1024


def test_the_lines_of_the_readme_work(service: Service, tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text().split("## Use it from a program")[1]
    lines = section.split("```sh\n")[1].split("```")[0]
    assert lines.count("\ncurl") == 5
    script = (
        lines.replace(".venv/bin/python", sys.executable)
        .replace("localhost:8000", f"localhost:{service.port}")
        .replace("small.webp", str(tmp_path / "small.webp"))
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", 'curl() { command curl -fsS "$@"; echo; }\n' + script],
        env=service.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "small.webp").read_bytes()[8:12] == b"WEBP"
    assert '"name":"Gallery"' in done.stdout
