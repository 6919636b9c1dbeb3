"""A page of 50 images with all links, beside the obvious service's with one link each; and one image, unchanged."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.load import head_of, load
from bench.table import Row, in_turns, report
from bench.world import authorization, fill, world

COUNT = 10_000
LIST = "/api/v1/images?limit=50"
PEERS_LIST = "/pictures/?limit=50"
CLIENTS = 4


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as found:
        fill(found, COUNT)
        key = authorization(found)
        with found.shoebox() as ours, found.obvious() as theirs:
            yield from beside_the_obvious(ours, theirs, key)
            yield unchanged(ours, key)


def beside_the_obvious(ours: str, theirs: str, key: Mapping[str, str]) -> Iterator[Row]:
    work = "a page of 50 images, 250 links, one process"
    ratio, own, others = in_turns(
        lambda: 1 / load(ours + LIST, headers=key, clients=CLIENTS).rate,
        lambda: 1 / load(theirs + PEERS_LIST, clients=CLIENTS).rate,
    )
    beside = f"the obvious: {1 / own:.0f} to {1 / others:.0f} requests/s"
    yield Row(2, work, beside, str(ratio), ">= 3 x", ratio.median >= 3)
    ratio, own, others = in_turns(
        lambda: load(ours + LIST, headers=key).p50, lambda: load(theirs + PEERS_LIST).p50
    )
    yield Row(
        2, work, f"p50: {own:.1f} to {others:.1f} ms", str(ratio), ">= 3 x", ratio.median >= 3
    )


def unchanged(ours: str, key: Mapping[str, str]) -> Row:
    address = f"{ours}/api/v1/images/0198c9a4-7d2e-7000-8000-{1:012x}"
    etag = head_of(address, key)["ETag"]
    known = {**key, "If-None-Match": etag}
    ratio, own, others = in_turns(
        lambda: 1 / load(address, headers=known, clients=CLIENTS, status=304).rate,
        lambda: 1 / load(address, headers=key, clients=CLIENTS).rate,
    )
    beside = f"without: {1 / own:.0f} to {1 / others:.0f} requests/s"
    return Row(3, "one image, If-None-Match, 304", beside, str(ratio), ">= 2 x", ratio.median >= 2)


if __name__ == "__main__":
    report(rows())
