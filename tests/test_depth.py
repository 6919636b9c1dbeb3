"""Lists of a million images: what Postgres does for a page, which is what makes it cost the same at any depth."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from media_api.models import Image
from media_api.pagination import Cursor
from tests.conftest import client_of
from tests.many import WORDS, fill
from tests.sending import API

COUNT = 1_000_000
PAGE = 51  # and one row more says whether there is a next one

# By the address: the index that the page is read from, in its order.
IN_ORDER = {
    "": "image_date",
    "order=date": "image_date",
    "order=name": "image_name",
    "order=-name": "image_name",
    "order=size": "image_size",
    "order=-size": "image_size",
    "type=png": "image_type",
    "type=png&order=date": "image_type",
    "tag=everywhere": "media_api_imagetag_pkey",
    "tag=often&order=date": "media_api_imagetag_pkey",
    "tag=seldom": "media_api_imagetag_pkey",
    "tag=rare": "media_api_imagetag_pkey",
}

# What few have is found by one of these, and then sorted; what many have is read in the order of its dates.
SEARCHES = {
    "q=img": {"image_date"},
    "q=often": {"image_date", "image_words"},
    "q=seldom": {"image_words"},
    "q=rare": {"image_words"},
    f"q={WORDS[5]}": {"image_words", "image_date"},
    "q=img+rare": {"image_words"},
    "q=nowhere": {"image_words"},
    "tag=everywhere&tag=often": {"image_date", "image_tags"},
    "tag=everywhere&tag=rare": {"image_tags"},
    "tag=often&type=png": {"image_type", "image_date", "image_tags"},
    "tag=rare&type=png": {"image_tags"},
    f"tag=often&q={WORDS[5]}": {"image_words", "image_tags"},
    "type=png&order=name": {"image_name", "image_type"},
    "type=png&q=often": {"image_type", "image_date"},
}
# Between few and many either way reads as much: the root of the page times all rows, times how wrong estimates are.
MOST_READ = 50_000


@dataclass(frozen=True)
class Plan:
    """How a page was read: what was sorted, and how many rows and entries were looked at."""

    indexes: set[str]
    scans: set[str]
    sorted: int
    read: int


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


def explain(sql: str) -> Plan:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}")
        told = cursor.fetchone()[0]
    (whole,) = json.loads(told) if isinstance(told, str) else told
    found = list(nodes(whole["Plan"]))

    return Plan(
        indexes={node["Index Name"] for node in found if "Index Name" in node},
        scans={node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"},
        sorted=max(
            (rows(node["Plans"][0]) for node in found if "Sort" in node["Node Type"]), default=0
        ),
        read=max(rows(node) for node in found if "Scan" in node["Node Type"]),
    )


def rows(node: dict[str, Any]) -> int:
    each = float(node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
    return int(each * node["Actual Loops"])


def read(api: APIClient, query: str) -> Plan:
    with CaptureQueriesContext(connection) as queries:
        answer = api.get(f"{API}/images?{query}")
    assert answer.status_code == 200, answer.content
    (sql,) = [each["sql"] for each in queries if 'FROM "media_api_image"' in each["sql"]]
    return explain(sql)


def far(api: APIClient, query: str) -> str:
    """The same list, where its last whole page begins."""
    order = parse_qs(query).get("order", ["-date"])[0]
    backwards = order.removeprefix("-") if order.startswith("-") else f"-{order}"
    answer = api.get(f"{API}/images?{query}&order={backwards}&limit={PAGE}")
    rows = answer.json()["results"]
    row = Image.objects.get(id=rows[-1]["id"])
    return f"{query}&order={order}&cursor={Cursor.at(row, order, back=False).encode()}"


def test_a_page_costs_the_same_in_a_million_images_at_any_depth(alice: User) -> None:
    api = client_of(alice)
    with connection.cursor() as cursor:
        fill(cursor, COUNT, owner=alice.id)
    for query, index in IN_ORDER.items():
        for depth in (query, far(api, query)):
            plan = read(api, depth)
            assert index in plan.indexes, (depth, plan)
            assert plan.scans == set(), (depth, plan)
            assert max(plan.sorted, plan.read) <= PAGE, (depth, plan)
    for query, indexes in SEARCHES.items():
        plan = read(api, query)
        assert plan.indexes & indexes, (query, plan)
        assert plan.scans == set(), (query, plan)
        assert max(plan.sorted, plan.read) <= MOST_READ, (query, plan)
