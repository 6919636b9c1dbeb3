"""Where the services of one machine listen, and how others name that place."""

import os
import socket
import time
from ipaddress import ip_address


def netloc(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def url(host: str, port: int) -> str:
    return f"http://{netloc(host, port)}".removesuffix(":80")


def reachable(host: str) -> str:
    """The address to connect to for what listens on `host`."""
    address = ip_address(host)
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def refusal(host: str, port: int, *, patience: float = 2) -> str | None:
    """Why nothing can listen there, None if it can; its last owner has `patience` seconds to go."""
    deadline = time.monotonic() + patience
    while True:
        try:
            _bind(host, port).close()
        except OSError as error:
            if time.monotonic() > deadline:
                return os.strerror(error.errno or 0)
            time.sleep(0.1)
        else:
            return None


def free_port(host: str) -> int:
    with _bind(host, 0) as probe:
        port: int = probe.getsockname()[1]
    return port


def _bind(host: str, port: int) -> socket.socket:
    probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what is in TIME_WAIT is free
    try:
        probe.bind((host, port))
    except OSError:
        probe.close()
        raise
    return probe


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
