"""What every measurement shares: two sides in turn, and a table of how they stand to each other.

Machines are noisy, and one minute is not like the next. So the two sides of a comparison take turns, each turn gives a
ratio, and what is reported is the median of the ratios with the least and the greatest: never a time by itself.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from statistics import median

TURNS = 5

Measure = Callable[[], float]


@dataclass(frozen=True)
class Ratio:
    """Of several turns: the median, and how far they spread."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, ratios: list[float]) -> "Ratio":
        return cls(median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        digits = 2 if self.median < 10 else 0
        numbers = self.median, self.least, self.greatest
        middle, least, greatest = (f"{number:.{digits}f}" for number in numbers)
        return f"{middle} x ({least} to {greatest})"


def in_turns(ours: Measure, theirs: Measure, *, turns: int = TURNS) -> tuple[Ratio, float, float]:
    """What `theirs` gives, divided by what `ours` gives; and the median of each. Once before it counts."""
    ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(turns)]
    ratio = Ratio.of([their / our for our, their in pairs])
    return ratio, median(our for our, _ in pairs), median(their for _, their in pairs)


@dataclass(frozen=True)
class Row:
    """A line of the table. `number` is that of docs/performance.md; `is_met` of what is only shown is None."""

    number: int
    work: str
    beside: str
    measured: str
    bar: str = ""
    is_met: bool | None = None


def report(rows: Iterable[Row]) -> None:
    """The main of a measurement: print its rows as they come, for people or, with --json, for programs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true", help="one object a line")
    as_json = parser.parse_args().json
    for row in rows:
        print(json.dumps(asdict(row)) if as_json else line(row), flush=True)


def line(row: Row) -> str:
    verdict = {True: "met", False: "MISSED", None: ""}[row.is_met]
    return f"{row.number:>2}  {row.work:<44} {row.beside:<34} {row.measured:<26} {row.bar:<16} {verdict}".rstrip()


def note(text: str) -> None:
    """What is being done, for whoever waits."""
    print(f"    {text}", file=sys.stderr, flush=True)
