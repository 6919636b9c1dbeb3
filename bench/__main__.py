"""`make bench`: every measurement in a process of its own, one table. Those named as arguments alone: `bench depth`."""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator

from bench.table import Row, line

MEASUREMENTS = [
    "signing",
    "listing",
    "depth",
    "ladder",
    "sandbox",
    "memory",
    "uploading",
    "keeping",
    "second_view",
    "deleting",
    "startup",
    "serving",
]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("names", nargs="*", choices=[*MEASUREMENTS, []], metavar="NAME")
    asked = parser.parse_args()
    broken: list[str] = []
    for name in asked.names or MEASUREMENTS:
        for told in rows(name, broken):
            print(told if asked.json else line(Row(**json.loads(told))), flush=True)
    for name in broken:
        print(f"{name} did not come to its end.", file=sys.stderr)
    return 1 if broken else 0


def rows(name: str, broken: list[str]) -> Iterator[str]:
    """The lines of a measurement as they come; the name of one that fails is written down."""
    command = [sys.executable, "-m", f"bench.{name}", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield from map(str.strip, process.stdout)
    if process.returncode:
        broken.append(name)


if __name__ == "__main__":
    sys.exit(main())
