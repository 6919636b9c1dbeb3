"""From the last byte of an upload until it is kept, beside what must be done for it: the sum of its parts."""

import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import httpx2

from bench.service import client, running
from bench.table import Row, in_turns, report
from tests import pictures

MOST = 1.3


def rows() -> Iterator[Row]:
    body = pictures.jpeg(3000, 2000, quality=95)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder, "data")) as service,
        client(service) as api,
    ):
        parts = Parts(body)
        ratio, single, whole = in_turns(parts.one_after_the_other, lambda: until_kept(api, body))
        work = f"a JPEG of 6 MP kept: {whole * 1000:.0f} ms"
        beside = f"the sum of its parts: {single * 1000:.0f} ms"
        yield Row(8, work, beside, str(ratio), f"<= {MOST} x", ratio.median <= MOST)
        yield Row(8, "  its parts", parts.names(), f"{parts} ms")


def until_kept(api: httpx2.Client, body: bytes) -> float:
    """Seconds from the last byte in the bucket to the answer that has the image."""
    announcement = {"name": "cat.jpg", "size": len(body), "content_type": "image/jpeg"}
    upload = api.post("/uploads", json=announcement).json()
    httpx2.put(upload["url"], content=body, headers=upload["headers"]).raise_for_status()
    start = perf_counter()
    assert api.post(f"/uploads/{upload['id']}/complete?wait=25").status_code == 201
    return perf_counter() - start


class Parts:
    """What a worker cannot do without: to download the bytes, decode and encode them, upload what came of it."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.spent = dict.fromkeys(["download", "decode and encode", "PUT"], 0.0)

    def one_after_the_other(self) -> float:
        """Seconds."""
        from media_api.examination import decode
        from media_api.models import image_prefix, staging_key, uuid7
        from media_api.storage import image_storage

        image_id, storage = uuid7(), image_storage()
        with tempfile.TemporaryFile() as file:
            file.write(self.body)
            storage.stage(
                staging_key(image_id), file, size=len(self.body), content_type="image/jpeg"
            )
        times = [perf_counter()]
        with tempfile.TemporaryFile() as copy:
            storage.fetch(staging_key(image_id), copy, limit=len(self.body))
            times.append(perf_counter())
            facts = decode(copy)
            times.append(perf_counter())
            for name, part in [
                ("original.jpg", self.body),
                *((f"{each.side}.webp", each.body) for each in facts.renditions),
            ]:
                storage.keep(image_prefix(image_id) + name, part, content_type="image/jpeg")
            times.append(perf_counter())
        ends = pairwise(times)
        self.spent = {
            name: end - start for name, (start, end) in zip(self.spent, ends, strict=True)
        }
        return sum(self.spent.values())

    def names(self) -> str:
        return ", ".join(self.spent)

    def __str__(self) -> str:
        """Of the last time, in milliseconds."""
        return " + ".join(f"{seconds * 1000:.0f}" for seconds in self.spent.values())


if __name__ == "__main__":
    report(rows())
