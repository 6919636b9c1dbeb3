"""Requests per second with one and two processes, and what slow clients cost the others."""

import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from bench.load import load
from bench.table import Row, in_turns, report
from bench.world import HOST, World, authorization, fill, world
from project.embedded.addresses import free_port

IMAGE = f"/api/v1/images/0198c9a4-7d2e-7000-8000-{1:012x}"
WORK = {
    "/livez": ("/livez", 200),
    "a list of 50": ("/api/v1/images?limit=50", 200),
    "a link, 302": (f"{IMAGE}/content?side=320", 302),
}
CLIENTS = 8
SLOW_CLIENTS = 64
PAUSE = 0.5  # seconds between two bytes of a slow body
LATER = 5.0  # seconds until one that was refused comes again, as `Retry-After` says
PATIENCE = 5.0  # seconds that the others wait for an answer
GUNICORN = Path("bench/.peers/bin/gunicorn")


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as found:
        fill(found, 10_000)
        key = authorization(found)
        with found.shoebox() as one, found.shoebox(workers=2) as two:
            for name, (path, status) in WORK.items():
                yield growth(name, one + path, two + path, status, key)
            yield beside_slow_clients(two, key)
        yield gunicorn_beside_slow_clients(found)


def growth(name: str, one: str, two: str, status: int, key: Mapping[str, str]) -> Row:
    ratio, alone, both = in_turns(
        lambda: load(one, headers=key, clients=CLIENTS, status=status).rate,
        lambda: load(two, headers=key, clients=CLIENTS, status=status).rate,
    )
    beside = f"1 process: {alone:.0f}, 2: {both:.0f} requests/s"
    return Row(12, name, beside, str(ratio), "> 1 x", ratio.median > 1)


def beside_slow_clients(server: str, key: Mapping[str, str]) -> Row:
    """The p95 of four clients who read a list, while others send a body by the byte."""
    url = server + WORK["a list of 50"][0]

    def quick() -> float:
        return load(url, headers=key, clients=4).p95

    def beside() -> float:
        with slow_clients(server, "/api/v1/images", key):
            return quick()

    ratio, alone, slowed = in_turns(quick, beside)
    work = f"p95 of a list beside {SLOW_CLIENTS} slow clients"
    return Row(12, work, f"{alone:.0f} to {slowed:.0f} ms", str(ratio), "< 2 x", ratio.median < 2)


def gunicorn_beside_slow_clients(found: World) -> Row:
    port = free_port(HOST)
    command = [str(GUNICORN), "--bind", f"{HOST}:{port}", "--workers", "2"]
    command += ["--pythonpath", ".", "--log-level", "error", "bench.peers.obvious:application"]
    probe = "/pictures/?limit=50"
    with found.running(command, port, probe=probe, variables=found.chosen) as theirs:
        alone = load(theirs + probe, clients=4).p95
        with slow_clients(theirs, "/pictures/", {}):
            try:
                told = f"{load(theirs + probe, clients=4, patience=PATIENCE).p95:.0f} ms"
            except TimeoutError:
                told = f"no answer in {PATIENCE:.0f} s"
    return Row(12, "  the same of the obvious", f"gunicorn sync, alone: {alone:.0f} ms", told)


@contextmanager
def slow_clients(server: str, path: str, headers: Mapping[str, str]) -> Iterator[None]:
    """They announce a body of a megabyte and send a byte of it now and then; who is refused comes later."""
    over = threading.Event()
    parts = urlsplit(server)
    lines = [f"POST {path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Length: 1000000"]
    lines += ["Content-Type: multipart/form-data; boundary=slow"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([*lines, "", "--slow\r\n"]).encode()

    def send() -> None:
        while not over.is_set():
            with suppress(OSError), socket.create_connection((parts.hostname, parts.port)) as slow:
                slow.sendall(head)
                while not over.wait(PAUSE):
                    slow.sendall(b"-")
            over.wait(LATER)

    with ExitStack() as stack:
        stack.callback(over.set)
        for _ in range(SLOW_CLIENTS):
            thread = threading.Thread(target=send)
            thread.start()
            stack.callback(thread.join)
            stack.callback(over.set)
        over.wait(1)
        yield


if __name__ == "__main__":
    report(rows())
