"""What comes through the socket itself, to the whole service: nothing stops it, hides a request or fills its memory."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from project.embedded.addresses import free_port
from tests import pictures
from tests.services import HOST
from tests.serving import READY, Service, command_line, descendants, wait_until

MiB = 1024 * 1024
LIMIT = 32 * MiB  # of more memory, for anything below
CLIENTS = 200
TIMEOUT = 3  # seconds, that a body has here

Raw = Callable[..., bytes]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("requests")
    service = Service(folder / "data", port=free_port(HOST), BODY_TIMEOUT=str(TIMEOUT))
    service.start()
    service.wait_for(READY)
    yield service
    service.kill()


@pytest.fixture(scope="module")
def key(service: Service) -> str:
    return service.manage(
        "apikey", "create", "admin", "--scope", "read", "--scope", "write"
    ).stdout.strip()


def get(service: Service, path: str, **headers: str) -> httpx2.Response:
    address = f"http://{HOST}:{service.port}{path}"
    return httpx2.get(address, headers=headers, trust_env=False, timeout=20)


def memory(service: Service) -> int:
    """Bytes of all web processes, what they share counted once."""
    web = {pid for pid in service.family() if "project.wsgi" in command_line(pid)}
    return sum(proportional_size(pid) for pid in web.union(*map(descendants, web)))


def proportional_size(pid: int) -> int:
    """Of a process that has ended meanwhile, nothing."""
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return 0


@pytest.fixture(autouse=True)
def unmoved(service: Service) -> Iterator[None]:
    """After whatever a test did, the service answers at once and is no larger than before."""
    assert get(service, "/readyz").status_code == 200
    before = memory(service)
    yield
    began = time.monotonic()
    assert get(service, "/livez").status_code == 200
    assert time.monotonic() - began < 1
    assert memory(service) - before < LIMIT


# --- one request after another --------------------------------------------------------------------


def connected(service: Service) -> socket.socket:
    return socket.create_connection((HOST, service.port), timeout=2)


def statuses(service: Service, sent: bytes) -> list[int]:
    """Of all that is answered on one connection until it is closed or quiet; 0 where it is closed without a word."""
    received, is_closed = b"", False
    with closing(connected(service)) as connection:
        try:
            connection.sendall(sent)
            while chunk := connection.recv(65536):
                received += chunk
                connection.settimeout(0.5)
            is_closed = True
        except ConnectionError:
            is_closed = True
        except TimeoutError:
            pass
    found = [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d+)", received)]
    return found or [0] * is_closed


def head(line: str, *lines: str) -> bytes:
    return "\r\n".join([line, "Host: localhost", *lines, "", ""]).encode()


LIVEZ = head("GET /livez HTTP/1.1")
POST = "POST /api/v1/images HTTP/1.1"
JPEG = "Content-Type: image/jpeg"
REFUSED: dict[str, bytes] = {
    "two lengths": head(POST, "Content-Length: 5", "Content-Length: 6") + b"hello",
    "two lengths in one line": head(POST, "Content-Length: 5, 5") + b"hello",
    "a length with a sign": head(POST, "Content-Length: +5") + b"hello",
    "a negative length": head(POST, "Content-Length: -5") + b"hello",
    "a length beyond all numbers": head(POST, "Content-Length: " + "9" * 25) + b"hello",
    "a length and chunks": (
        head(POST, JPEG, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + LIVEZ
    ),
    "another coding": head(POST, "Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "two codings": head(POST, "Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    "a coding after a space": head(POST, "Transfer-Encoding : chunked") + b"0\r\n\r\n",
    "no number of a chunk": head(POST, "Transfer-Encoding: chunked") + b"zz\r\nhello\r\n0\r\n\r\n",
    "a chunk beyond all numbers": head(POST, "Transfer-Encoding: chunked") + b"f" * 20 + b"\r\nhello",
    "a folded header": head("GET /livez HTTP/1.1", "X: a", " b"),
    "lines that end with CR": LIVEZ.replace(b"\r\n", b"\r"),
    "NUL in a header": head("GET /livez HTTP/1.1", "X: a\0b"),
    "NUL in an address": head("GET /liv\0ez HTTP/1.1"),
    "a header of a megabyte": head("GET /livez HTTP/1.1", "X: " + "a" * MiB),
    "cookies of a megabyte": head("GET /login/ HTTP/1.1", "Cookie: a=" + "a" * MiB),
    "ten thousand headers": head("GET /livez HTTP/1.1", *(f"X{n}: a" for n in range(10_000))),
    "an address of 100 kB": head(f"GET /{'a' * 100_000} HTTP/1.1"),
    "100,000 parameters": head(f"GET /login/?{'&a=1' * 100_000} HTTP/1.1"),
    "two hosts": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "no host": b"GET /livez HTTP/1.1\r\n\r\n",
    "the host of an address against that of the header": (
        b"GET http://localhost/livez HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    ),
    "HTTP/0.9": b"GET /livez\r\n\r\n",
    "HTTP/2.0 in a line": head("GET /livez HTTP/2.0"),
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    "all bytes": bytes(range(256)) * 4,
    "an unknown method of 10 kB": head(f"{'A' * 10_000} /api/v1/images HTTP/1.1"),
    "all of the server": head("OPTIONS * HTTP/1.1"),
    "out of the static files": head("GET /static/../../manage.py HTTP/1.1"),
    "out of the static files, in disguise": head("GET /static/%2e%2e/%2e%2e%2fmanage.py HTTP/1.1"),
    "an address with NUL": head("GET /images/%00/ HTTP/1.1"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_request_of_ours_is_refused_once(service: Service, name: str) -> None:
    """Or the connection is closed. What stands behind it is never taken for a request."""
    (status,) = statuses(service, REFUSED[name])
    assert status == 0 or 400 <= status < 500


TAKEN: dict[str, bytes] = {
    "one length, twice": head("GET /livez HTTP/1.1", "Content-Length: 0", "Content-Length: 0"),
    "a whole address": head("GET http://localhost/livez HTTP/1.1"),
    "HTTP/1.0": head("GET /livez HTTP/1.0"),
    "an upgrade to HTTP/2": head("GET /livez HTTP/1.1", "Connection: Upgrade", "Upgrade: h2c"),
    "a thousand ranges": head("GET /livez HTTP/1.1", "Range: bytes=" + "1-1," * 1000 + "2-2"),
    "odd conditions": head("GET /livez HTTP/1.1", 'If-None-Match: "', "If-Range: x", "If-Modified-Since: Thu, 99"),
    "empty lines before it": b"\r\n" * 1000 + LIVEZ,
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_odd_and_harmless_is_answered(service: Service, name: str) -> None:
    assert statuses(service, TAKEN[name]) == [200]


def test_a_refused_body_is_not_the_next_request(service: Service) -> None:
    smuggled = head(POST, JPEG, "Content-Length: 1000") + LIVEZ
    assert statuses(service, smuggled) == [401]
    whole = head(POST, JPEG, f"Content-Length: {len(LIVEZ)}") + LIVEZ
    assert statuses(service, whole + head("GET /nowhere HTTP/1.1")) == [401, 404]
    trailed = head(POST, "Transfer-Encoding: chunked") + b"0\r\nContent-Length: 5\r\n\r\n"
    assert statuses(service, trailed + head("GET /nowhere HTTP/1.1")) in ([401], [401, 404])


def test_who_asks_first_is_refused_before_the_body(service: Service, key: str) -> None:
    asking = "Expect: 100-continue"
    bearer = f"Authorization: Bearer {key}"
    length = f"Content-Length: {10**9}"
    assert statuses(service, head(POST, JPEG, asking, length)) == [401]
    assert statuses(service, head(POST, JPEG, asking, length, bearer)) == [413]


@pytest.mark.parametrize("path", ["/login/", "/logout/", "/admin/login/", "/livez", "/nowhere"])
def test_nobody_unknown_sends_a_large_body(service: Service, path: str) -> None:
    """Refused by its length alone: the form would be written to the disk before its CSRF token is looked for."""
    form = "Content-Type: multipart/form-data; boundary=x"
    cookie = "Cookie: csrftoken=" + "c" * 32
    sent = head(f"POST {path} HTTP/1.1", form, cookie, f"Content-Length: {10**10}")
    assert statuses(service, sent) in ([413], [404])


# --- many at once, and slowly ---------------------------------------------------------------------


FORM = "Content-Type: application/x-www-form-urlencoded"


def slow(kind: str, key: str) -> bytes:
    """The beginning of a request whose end never comes, or of answers that nobody reads."""
    bearer = f"Authorization: Bearer {key}"
    announcing = "POST /api/v1/uploads HTTP/1.1", bearer, "Content-Type: application/json"
    signing_in = "POST /login/ HTTP/1.1", FORM, "Cookie: csrftoken=" + "c" * 32
    return {
        "heads": b"GET /livez HTTP/1.1\r\nX: " + b"a" * 60_000,
        "forms of nobody": head(*signing_in, "Content-Length: 9") + b"a",
        "JSON of an owner": head(*announcing, "Content-Length: 9") + b"{",
        "pictures of an owner": head(POST, JPEG, bearer, "Content-Length: 100000") + b"a" * 70_000,
        "answers that nobody reads": head("GET /static/web/base.css HTTP/1.1") * 40,
    }[kind]


@pytest.fixture
def crowd(service: Service) -> Iterator[Callable[[bytes], list[socket.socket]]]:
    with ExitStack() as stack:

        def crowd(sent: bytes) -> list[socket.socket]:
            connections = [stack.enter_context(closing(connected(service))) for _ in range(CLIENTS)]
            for connection in connections:
                connection.sendall(sent)
            return connections

        yield crowd


KINDS = [
    "heads",
    "forms of nobody",
    "JSON of an owner",
    "pictures of an owner",
    "answers that nobody reads",
]


@pytest.mark.parametrize("kind", KINDS)
def test_slow_clients_hold_nobody_up(
    service: Service, key: str, crowd: Callable[[bytes], Any], kind: str
) -> None:
    crowd(slow(kind, key))
    for path in "/livez", "/api/v1/images", "/livez", "/api/v1/images":
        began = time.monotonic()
        assert get(service, path, Authorization=f"Bearer {key}").status_code == 200
        assert time.monotonic() - began < 4  # two seconds, and patience with a busy machine
    answer = sent_by_an_owner(service, key)
    assert answer.status_code in (202, 503)
    assert answer.status_code == 202 or answer.headers["Retry-After"]


def sent_by_an_owner(service: Service, key: str) -> httpx2.Response:
    return httpx2.post(
        f"http://{HOST}:{service.port}/api/v1/images?wait=0",
        content=pictures.jpeg(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "image/jpeg"},
        trust_env=False,
        timeout=20,
    )


def test_all_is_as_before_when_they_are_gone(
    service: Service, key: str, crowd: Callable[[bytes], list[socket.socket]]
) -> None:
    """Those that stay are told so, each of them, and their connections are closed: no thread is left behind."""
    connections = crowd(slow("pictures of an owner", key))
    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(read_all, connections))
    assert time.monotonic() - began < TIMEOUT + 10
    told = [re.findall(rb'^HTTP/1.1 (\d+)|"code": ?"(\w+)"', answer) for answer in answers]
    codes = {(line[0][0], line[-1][1]) for line in told if line}
    assert codes == {(b"503", b"busy"), (b"408", b"too_slow")}
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(lambda _: sent_by_an_owner(service, key).status_code, range(24)))
    assert again == [202] * 24


def read_all(connection: socket.socket) -> bytes:
    received = b""
    connection.settimeout(TIMEOUT + 15)
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionError:
        pass
    return received


def test_a_body_that_comes_steadily_may_take_its_time(service: Service, key: str) -> None:
    """Longer than a single wait, as nobody measures the whole of it."""
    body = pictures.large(400_000)
    bearer = f"Authorization: Bearer {key}"
    with closing(connected(service)) as connection:
        connection.sendall(
            head(POST, JPEG, bearer, f"Content-Length: {len(body)}", "Connection: close")
        )
        pieces = [body[at : at + 40_000] for at in range(0, len(body), 40_000)]
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(TIMEOUT / 8)
        assert read_all(connection).startswith((b"HTTP/1.1 201", b"HTTP/1.1 202"))


def test_who_goes_away_leaves_nothing_behind(
    service: Service, key: str, crowd: Callable[[bytes], list[socket.socket]]
) -> None:
    for connection in crowd(slow("pictures of an owner", key)):
        connection.close()
    wait_until(lambda: sent_by_an_owner(service, key).status_code == 202, seconds=TIMEOUT + 5)
