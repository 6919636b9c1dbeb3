"""Requests over connections that are kept open, as fast as they are answered: what a client costs itself is little."""

import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection
from statistics import median, quantiles
from time import perf_counter
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Load:
    """What some clients saw: answers per second, and how long each took, in milliseconds."""

    rate: float
    times: list[float]

    @property
    def p50(self) -> float:
        return median(self.times)

    @property
    def p95(self) -> float:
        return quantiles(self.times, n=20)[-1]


def load(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    clients: int = 1,
    seconds: float = 1.0,
    status: int = 200,
    patience: float = 60.0,
) -> Load:
    """GET `url` again and again by so many clients for so long.

    Raises AssertionError for another status, TimeoutError if one is not answered in `patience` seconds.
    """
    start = perf_counter()

    def run(_: int) -> list[float]:
        times = []
        with Client(url, headers or {}, patience) as client:
            while perf_counter() - start < seconds:
                times.append(client.get(status))
        return times

    with ThreadPoolExecutor(clients) as pool:
        times = [each for of_one in pool.map(run, range(clients)) for each in of_one]
    return Load(len(times) / (perf_counter() - start), times)


def head_of(url: str, headers: Mapping[str, str]) -> Message:
    """The headers of an answer."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc)
    connection.request("GET", parts.path, headers=dict(headers))
    answer = connection.getresponse()
    connection.close()
    return answer.headers


class Client:
    """One connection and one request, which is sent as the same bytes each time."""

    def __init__(self, url: str, headers: Mapping[str, str], patience: float) -> None:
        parts = urlsplit(url)
        lines = [f"GET {parts.path}?{parts.query} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.request = "\r\n".join([*lines, "", ""]).encode()
        self.address = parts.hostname, parts.port
        self.patience = patience
        self.socket = self._connected()

    def _connected(self) -> socket.socket:
        connected = socket.create_connection(self.address, timeout=self.patience)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def get(self, status: int) -> float:
        """Milliseconds until the answer was here, whole."""
        start = perf_counter()
        self.socket.sendall(self.request)
        head, _, body = self._read_head().partition(b"\r\n\r\n")
        answered = int(head.split(None, 2)[1])
        assert answered == status, f"{answered}, not {status}: {body[:500]!r}"
        left = _length(head) - len(body)
        while left > 0:
            left -= len(self._read())
        if b"connection: close" in head.lower():  # as gunicorn's sync workers do
            self.socket.close()
            self.socket = self._connected()
        return (perf_counter() - start) * 1000

    def _read_head(self) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._read()
        return received

    def _read(self) -> bytes:
        piece = self.socket.recv(256 * 1024)
        if not piece:
            raise ConnectionError("The server closed the connection.")
        return piece


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
