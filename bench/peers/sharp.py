"""A Node program that makes ladders with sharp (`ladder.js`), started once and asked by lines."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class SharpFailed(Exception):
    """It says why."""


@dataclass(frozen=True)
class Sharp:
    process: subprocess.Popen[str]

    def seconds(self, **asked: Any) -> float:
        """For so many ladders, by its own clock. Raises SharpFailed."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise SharpFailed(answer["error"])
        return float(answer["seconds"])


@contextmanager
def running() -> Iterator[Sharp]:
    process = subprocess.Popen(
        ["node", "bench/peers/ladder.js"],
        env=os.environ | {"NODE_PATH": str(Path("bench/.peers/node_modules").resolve())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Sharp(process)
