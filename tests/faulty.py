"""A proxy in front of a store, whose fault is switched while it runs.

    with faulty.failing(black_hole):
        ...

A fault is what is done with one request: it may ask the store, answer, and cut the connection.
"""

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from project.embedded.addresses import free_port, url
from tests.services import HOST, Store

HOP_BY_HOP = {"connection", "expect", "keep-alive", "transfer-encoding"}
LATENCY = 2.0  # seconds
SLOWLY = 20_000  # bytes a second

Fault = Callable[["Exchange"], None]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Exchange(BaseHTTPRequestHandler):
    """One request to the store, and what the fault makes of it."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def handle_one(self) -> None:
        self.sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        proxy = self.server.proxy
        self.healed = proxy.healed
        fault = proxy.fault if proxy.concerns(self) else healthy
        with suppress(OSError):  # whoever asked has lost patience
            fault(self)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one

    def ask(self, body: bytes | None = None) -> Answer:
        """What the store says, signed as it came."""
        body = self.sent if body is None else body
        with closing(HTTPConnection(self.server.proxy.store, timeout=30)) as connection:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())

    def answer(self, answer: Answer) -> None:
        self.begin(answer)
        self.wfile.write(answer.body)

    def begin(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        length = answer.headers.get("Content-Length", "0") if self.command == "HEAD" else None
        if answer.status != 204:
            self.send_header("Content-Length", length or str(len(answer.body)))
        self.end_headers()
        self.wfile.flush()

    def cut(self) -> None:
        """A reset, not an end: nothing more is read or sent."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


# --- the faults -----------------------------------------------------------------------------------


def healthy(exchange: Exchange) -> None:
    exchange.answer(exchange.ask())


def refused(exchange: Exchange) -> None:
    """Nobody listens, and whoever is connected still is cut off."""
    exchange.cut()


def reset(exchange: Exchange) -> None:
    exchange.cut()


def black_hole(exchange: Exchange) -> None:
    exchange.healed.wait()
    exchange.cut()


def late(exchange: Exchange) -> None:
    time.sleep(LATENCY)
    healthy(exchange)


def slow(exchange: Exchange) -> None:
    answer = exchange.ask()
    exchange.begin(answer)
    for start in range(0, len(answer.body), SLOWLY // 10):
        exchange.wfile.write(answer.body[start : start + SLOWLY // 10])
        exchange.wfile.flush()
        time.sleep(0.1)


def cut_short(exchange: Exchange) -> None:
    """Half an answer under the length of a whole one."""
    answer = exchange.ask()
    exchange.begin(answer)
    exchange.wfile.write(answer.body[: len(answer.body) // 2])
    exchange.wfile.flush()
    exchange.close_connection = True


def shortened(exchange: Exchange) -> None:
    """Half an answer that says of itself that it is whole."""
    answer = exchange.ask()
    exchange.answer(replace(answer, body=answer.body[: len(answer.body) // 2]))


def flipped(exchange: Exchange) -> None:
    """One bit of the answer is another."""
    answer = exchange.ask()
    exchange.answer(replace(answer, body=flip(answer.body)))


def flipped_on_the_way_up(exchange: Exchange) -> None:
    """One bit of what is stored is another."""
    exchange.answer(exchange.ask(flip(exchange.sent)))


def answer_lost(exchange: Exchange) -> None:
    """The store has done it, and nobody hears of it."""
    exchange.ask()
    exchange.cut()


def slow_down(exchange: Exchange) -> None:
    exchange.answer(error(503, "SlowDown"))


def full(exchange: Exchange) -> None:
    """As MinIO says it, whose disk is full."""
    exchange.answer(error(507, "XMinioStorageFull"))


def without_bucket(exchange: Exchange) -> None:
    """As after a start without its volume."""
    exchange.answer(error(404, "NoSuchBucket"))


def emptied(exchange: Exchange) -> None:
    """As on a volume that is not ours: a bucket of this name, and nothing in it."""
    if exchange.command in ("GET", "HEAD"):
        exchange.answer(error(404, "NoSuchKey"))
    else:
        healthy(exchange)


def png_kept_back(exchange: Exchange) -> None:
    """A DeleteObjects that is answered as if it had removed all but what ends on .png."""
    told = "".join(
        f"<Error><Key>{key}</Key><Code>AccessDenied</Code></Error>"
        if key.endswith(".png")
        else f"<Deleted><Key>{key}</Key></Deleted>"
        for key in re.findall("<Key>(.+?)</Key>", exchange.sent.decode())
    )
    body = f"<?xml version='1.0'?><DeleteResult>{told}</DeleteResult>"
    exchange.answer(Answer(200, {"Content-Type": "application/xml"}, body.encode()))


def somebody_else(exchange: Exchange) -> None:
    """As a load balancer that does not know where the store is."""
    page = b"<html><title>404 Not Found</title></html>"
    exchange.answer(Answer(404, {"Content-Type": "text/html"}, page))


def captured(exchange: Exchange) -> None:
    """As a network that answers everything itself."""
    exchange.answer(Answer(200, {"Content-Type": "text/html"}, b"<html>Sign in</html>"))


def error(status: int, code: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return Answer(status, {"Content-Type": "application/xml"}, body.encode())


def flip(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :] if body else body


# --- the proxy ------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64
    proxy: "Faulty"

    def shutdown_request(self, request: Any) -> None:
        """Without the FIN that would come before a reset."""
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has hung up."""


class Faulty:
    """Stands where the store is expected; `store` is what the app is to be told."""

    def __init__(self, store: Store, *, port: int | None = None) -> None:
        self.store = urlsplit(store.endpoint_url).netloc
        self.port = port or free_port(HOST)
        self.seen = replace(store, endpoint_url=url(HOST, self.port))
        self.healed = threading.Event()
        self.fault: Fault = healthy
        self.concerns: Callable[[Exchange], bool] = lambda exchange: True
        self._listen()

    @contextmanager
    def failing(
        self, fault: Fault, concerns: Callable[[Exchange], bool] = lambda exchange: True
    ) -> Iterator[None]:
        """This fault, of these requests, until the end of the block."""
        self.healed.clear()
        self.fault, self.concerns = fault, concerns
        if fault is refused:
            self._hang_up()
        try:
            yield
        finally:
            self.fault = healthy
            self.healed.set()
            if fault is refused:
                self._listen()

    def _listen(self) -> None:
        self.server = Server((HOST, self.port), Exchange)
        self.server.proxy = self
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def _hang_up(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def close(self) -> None:
        self.healed.set()
        self._hang_up()
