"""The first page of a list beside its last, and ten thousand images beside a million and ten million.

The rows are made once for each number and stay in DATA (bench/.data): ten million take minutes, and 22 GB of disk.
COUNTS=10000,1000000 leaves some out.
"""

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx2

from bench.load import load
from bench.table import Ratio, Row, in_turns, note, report
from bench.world import authorization, fill, world
from tests.many import WORDS

COUNTS = [int(count) for count in os.environ.get("COUNTS", "10000,1000000,10000000").split(",")]
DATA = Path(os.environ.get("DATA", "bench/.data")).absolute()
FLAT = ["", "order=date", "order=name", "order=-name", "order=size", "order=-size"]
FLAT += ["type=png", "type=png&order=date", "tag=everywhere", "tag=often&order=date"]
SEARCHES = [f"q={word}" for word in WORDS[:20]]
SEARCHES += ["q=img", "q=often", "q=seldom", "q=rare", "q=w00", "q=img+seldom", "q=often&type=jpeg"]
SEARCHES += ["tag=everywhere&tag=often", "tag=often&type=png", "type=png&order=name"]
SECONDS, TURNS = 0.1, 11  # many short turns: what disturbs one side disturbs the other too
PAGE = 50


@dataclass(frozen=True)
class Collection:
    """So many images, a service that lists them, and the obvious one."""

    count: int
    ours: str
    theirs: str
    key: Mapping[str, str]

    def p50(self, query: str) -> float:
        """Milliseconds of a page."""
        return load(self.address(query), headers=self.key, seconds=SECONDS).p50

    def address(self, query: str) -> str:
        return f"{self.ours}/api/v1/images?limit={PAGE}&{query}"

    def last(self, query: str) -> str:
        """The address of the last page: what comes before the first one of the other order."""
        order = dict(pair.split("=") for pair in query.split("&") if pair).get("order", "-date")
        backwards = order.removeprefix("-") if order.startswith("-") else f"-{order}"
        rest = "&".join(pair for pair in query.split("&") if not pair.startswith("order="))
        first = httpx2.get(self.address(f"{rest}&order={backwards}"), headers=self.key).json()
        row = first["results"][-1]
        position = [str(row[order.removeprefix("-")]), row["id"]]
        return f"{rest}&order={order}&cursor={cursor([order, False, position])}"

    def p95(self, queries: list[str]) -> float:
        times = [
            time
            for query in queries
            for time in load(self.address(query), headers=self.key, seconds=SECONDS).times[:20]
        ]
        return quantiles(times, n=20)[-1]

    def theirs_p50(self, page: int) -> float:
        url = f"{self.theirs}/pictures/?limit={PAGE}&offset={(page - 1) * PAGE}"
        return load(url, seconds=SECONDS).p50


def rows() -> Iterator[Row]:
    with ExitStack() as stack:
        collections = [stack.enter_context(collection(count)) for count in COUNTS]
        small, large = collections[0], collections[-1]
        for each in collections:
            worst = max(map(partial(depth, each), FLAT), key=lambda found: found[0].median)
            yield row(f"last page / first, {each.count:,} images", *worst, most=1.3)
        worst = max(
            (growth(small, large, query) for query in FLAT), key=lambda found: found[0].median
        )
        yield row(f"{large.count:,} images / {small.count:,}", *worst, most=1.3)
        ratio, few, many = in_turns(partial(small.p95, SEARCHES), partial(large.p95, SEARCHES))
        yield row(f"searches, p95: {few:.1f} to {many:.1f} ms", ratio, "q, combinations", most=3)
        ratio, first, deep = in_turns(
            partial(large.theirs_p50, 1), partial(large.theirs_p50, 10_000)
        )
        beside = f"the obvious: {first:.0f} to {deep:.0f} ms"
        yield Row(4, f"page 10,000 / page 1, {large.count:,}", beside, str(ratio))


@contextmanager
def collection(count: int) -> Iterator[Collection]:
    folder = DATA / str(count)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with world(folder) as found:
        if not found.is_filled():
            note(f"{count:,} images are made, once")
            fill(found, count)
        with found.shoebox() as ours, found.obvious() as theirs:
            yield Collection(count, ours, theirs, authorization(found))


def cursor(position: list[Any]) -> str:
    """As `media_api.pagination` writes it."""
    return urlsafe_b64encode(json.dumps(position).encode()).decode()


def depth(each: Collection, query: str) -> tuple[Ratio, str]:
    first, last = partial(each.p50, query), partial(each.p50, each.last(query))
    return in_turns(first, last, turns=TURNS)[0], query


def growth(small: Collection, large: Collection, query: str) -> tuple[Ratio, str]:
    few, many = partial(small.p50, query), partial(large.p50, query)
    return in_turns(few, many, turns=TURNS)[0], query


def row(work: str, ratio: Ratio, query: str, *, most: float) -> Row:
    beside = f"worst: {query or 'order=-date'}"
    return Row(4, work, beside, str(ratio), f"<= {most} x", ratio.median <= most)


if __name__ == "__main__":
    report(rows())
