"""The second net around a decoder, alone: a process that renounced reaches nothing that it had not open before."""

import subprocess
import sys

import pytest

from media_api import landlock

ATTEMPTS = {
    "reads a file": "open('/etc/passwd')",
    "writes a file": "open('/tmp/shoebox', 'w')",
    "lists a folder": "os.listdir('/')",
    "executes": "os.execv('/bin/true', ['true'])",
    "connects": "before.connect(('127.0.0.1', 9))",
    "listens": "before.bind(('127.0.0.1', 0))",
    "signals its parent": "os.kill(os.getppid(), 0)",
}


def tried(statement: str, *, confined: bool) -> str:
    """What becomes of a statement in a process of its own."""
    program = f"""
import os, socket
from media_api import landlock
before = socket.socket()
if {confined}:
    landlock.renounce()
try:
    {statement}
except PermissionError:
    print("denied")
except OSError:
    print("failed")
"""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(not landlock.is_available(), reason="this kernel has no Landlock")
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_nothing_is_reached(attempt: str) -> None:
    assert tried(ATTEMPTS[attempt], confined=False) != "denied"
    assert tried(ATTEMPTS[attempt], confined=True) == "denied"


def test_what_is_open_stays_usable() -> None:
    statement = "print(os.fstat(0).st_size >= 0)"
    assert tried(statement, confined=landlock.is_available()) == "True"
