"""Lists: in pages that stay right while rows come and go, in an order, narrowed by a search; always only one's own."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from media_api.models import ApiKey, Image, Upload, clean_name, database_now, uuid7
from tests.conftest import client_of
from tests.sending import API, path_of, refusal

ORDERS = ["-date", "date", "name", "-name", "size", "-size"]
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def image(owner: User, **changes: Any) -> Image:
    """A row as it is after an upload; lists never ask the bucket."""
    image_id = changes.pop("id", None) or uuid7()
    known = {
        "path": f"images/{image_id}/original.jpg",
        "name": "cat.jpg",
        "size": 1000,
        "date": NOON,
        "content_type": "image/jpeg",
        "width": 640,
        "height": 480,
        "sha256": "0" * 64,
        "sides": [320],
        "placeholder": "data:,",
    }
    return Image.objects.create(**{"id": image_id, "owner": owner, **known, **changes})


def upload(owner: User, **changes: Any) -> Upload:
    known = {"name": "cat.jpg", "size": 10, "content_type": "image/jpeg"}
    expires_at = database_now() + timedelta(hours=1)
    return Upload.objects.create(**{"owner": owner, "expires_at": expires_at, **known, **changes})


@pytest.fixture
def album(alice: User) -> list[Image]:
    """Two dozen images, most of them equal to others in what lists are ordered by."""
    dice = random.Random(1)
    ids = [uuid7() for _ in range(24)]
    dice.shuffle(ids)
    return [
        image(
            alice,
            id=image_id,
            name=dice.choice(["a.jpg", "b.jpg", "Ä.jpg", "猫.jpg"]),
            size=dice.choice([1, 2, 2**40]),
            date=NOON + timedelta(microseconds=dice.choice([0, 0, 1, 10**6, 10**12])),
        )
        for image_id in ids
    ]


@pytest.fixture
def api(alice: User) -> APIClient:
    return client_of(alice)


def ids(page: dict[str, Any]) -> list[str]:
    return [row["id"] for row in page["results"]]


def pages(api: APIClient, address: str, *, along: str = "next") -> Iterator[dict[str, Any]]:
    """One page after the other, as long as there is one."""
    next_address: str | None = address
    while next_address:
        answer = api.get(path_of(next_address))
        assert answer.status_code == 200, answer.content
        page: dict[str, Any] = answer.json()
        yield page
        next_address = page[along]


def ordered(images: list[Image], order: str) -> list[str]:
    field = order.removeprefix("-")
    rows = sorted(images, key=lambda row: (getattr(row, field), row.id))
    return [str(row.id) for row in (reversed(rows) if order.startswith("-") else rows)]


@pytest.fixture
def no_index() -> Iterator[None]:
    """An index of all that is asked for hands out rows in order by itself; without one it has to be asked for."""
    with connection.cursor() as cursor:
        cursor.execute("SET enable_indexscan = off")
        cursor.execute("SET enable_bitmapscan = off")
        yield
        cursor.execute("RESET ALL")


@pytest.mark.parametrize("order", ORDERS)
def test_pages_forth_and_back_have_each_image_once(
    api: APIClient, album: list[Image], order: str, no_index: None
) -> None:
    expected = ordered(album, order)
    forth = list(pages(api, f"{API}/images?limit=5&order={order}"))
    assert [len(page["results"]) for page in forth] == [5, 5, 5, 5, 4]
    assert [found for page in forth for found in ids(page)] == expected
    assert forth[0]["previous"] is None

    back = list(pages(api, forth[-1]["previous"], along="previous"))
    assert [found for page in reversed(back) for found in ids(page)] == expected[:-4]
    assert back[0]["next"] is not None
    again = api.get(path_of(back[0]["next"])).json()
    assert ids(again) == expected[-4:]


def test_newest_come_first(api: APIClient, album: list[Image]) -> None:
    assert ids(api.get(f"{API}/images").json()) == ordered(album, "-date")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("along", ["next", "previous"])
def test_who_stays_is_seen_once_while_others_come_and_go(
    api: APIClient, alice: User, album: list[Image], order: str, along: str
) -> None:
    dice = random.Random(order + along)
    start = f"{API}/images?limit=4&order={order}"
    if along == "previous":
        start = [page["previous"] for page in pages(api, start)][-1]
    staying, seen = {str(row.id) for row in album}, []
    for page in pages(api, start, along=along):
        seen += ids(page)
        gone = dice.sample(sorted(staying), 2)
        Image.objects.filter(id__in=gone).delete()
        staying -= set(gone)
        image(alice, name=dice.choice(["a.jpg", "c.jpg"]), size=2, date=NOON)
    if along == "previous":  # the last page was left behind
        staying -= set(ordered(album, order)[-4:])
    assert len(seen) == len(set(seen))
    assert staying <= set(seen)


def test_neighbours_stand_in_the_link_header_too(api: APIClient, album: list[Image]) -> None:
    first = api.get(f"{API}/images?limit=5&type=jpeg")
    middle = api.get(path_of(first.json()["next"]))
    assert f'<{first.json()["next"]}>; rel="next"' in first["Link"]
    assert 'rel="prev"' not in first["Link"]
    assert f'<{middle.json()["previous"]}>; rel="prev"' in middle["Link"]
    assert f'<{middle.json()["next"]}>; rel="next"' in middle["Link"]
    assert 'images?limit=5&type=jpeg>; rel="first"' in middle["Link"]


def test_an_empty_list_is_a_page(api: APIClient) -> None:
    for address in "images", "images/trash", "uploads":
        page = api.get(f"{API}/{address}").json()
        assert page == {"next": None, "previous": None, "results": []}
    assert api.get(f"{API}/images?order=&type=&q=&limit=&cursor=").status_code == 200


def test_a_page_has_fifty_unless_asked(api: APIClient, alice: User) -> None:
    for _ in range(51):
        image(alice)
    assert len(api.get(f"{API}/images").json()["results"]) == 50
    assert len(api.get(f"{API}/images?limit=200").json()["results"]) == 51


@pytest.mark.parametrize("limit", ["0", "-1", "201", "1e2", "ten", "²", "9" * 30])
@pytest.mark.parametrize("address", ["images", "images/trash", "uploads"])
def test_a_limit_is_a_number_to_200(api: APIClient, address: str, limit: str) -> None:
    answer = api.get(f"{API}/{address}?limit={limit}")
    assert refusal(answer) == (422, "invalid")
    assert answer.json()["errors"][0]["pointer"] == "/limit"


@pytest.mark.parametrize(
    ("address", "order"),
    [
        ("images", "owner"),
        ("images", "--date"),
        ("images", "sha256"),
        ("images/trash", "name"),
        ("uploads", "size"),
        ("images?q=cat&x=", "name"),
        ("images?tag=cat&x=", "size"),
    ],
)
def test_orders_that_no_index_serves_are_refused(api: APIClient, address: str, order: str) -> None:
    address += "&" if "?" in address else "?"
    assert refusal(api.get(f"{API}/{address}order={order}")) == (422, "invalid")


# --- cursors --------------------------------------------------------------------------------------


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


NOBODY = "00000000-0000-0000-0000-000000000000"
CURSORS = [
    "x",
    "%00",
    "é",
    "=" * 9,
    encoded([]),
    encoded(None),
    encoded(["-date", False, []]),
    encoded(["-date", False, ["yesterday", NOBODY]]),
    encoded(["-date", False, [NOON.isoformat(), "nobody"]]),
    encoded(["-date", False, [None, None]]),
    encoded(["-date", False, [{}, []]]),
    encoded(["name", False, ["x", NOBODY]]),
    base64.urlsafe_b64encode(b"[" * 3000).decode(),
]


@pytest.mark.parametrize("cursor", CURSORS, ids=range(len(CURSORS)))
def test_cursors_that_are_not_ours_are_refused(
    api: APIClient, album: list[Image], cursor: str
) -> None:
    answer = api.get(f"{API}/images?cursor={cursor}")
    assert answer.status_code in (400, 422), answer.content
    assert refusal(answer)[1] in ("invalid", "malformed")


@pytest.mark.parametrize(
    ("order", "value"),
    [
        ("date", "2026-11-21T12:00:00"),
        ("date", "0001-01-01T00:00:00+14:00"),
        ("date", "9999-12-31T23:59:59-14:00"),
        ("name", "\0"),
        ("name", "\ud800"),
        ("name", "x" * 3000),
        ("size", "1.5"),
        ("size", "-1"),
        ("size", "9" * 30),
        ("size", "NaN"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*received a naive datetime")
def test_strange_positions_are_refused_or_lead_somewhere(
    api: APIClient, album: list[Image], order: str, value: str
) -> None:
    cursor = encoded([order, False, [value, NOBODY]])
    answer = api.get(f"{API}/images?order={order}&cursor={cursor}")
    assert answer.status_code == 200 or refusal(answer) == (422, "invalid")


def test_a_cursor_belongs_to_its_order(api: APIClient, album: list[Image]) -> None:
    page = api.get(f"{API}/images?limit=5&order=name").json()
    cursor = page["next"].partition("cursor=")[2].partition("&")[0]
    assert refusal(api.get(f"{API}/images?order=size&cursor={cursor}")) == (422, "invalid")


@pytest.mark.parametrize("order", ORDERS)
def test_no_change_of_a_cursor_is_a_fault(api: APIClient, album: list[Image], order: str) -> None:
    dice = random.Random(order)
    page = api.get(f"{API}/images?limit=5&order={order}").json()
    cursor = page["next"].partition("cursor=")[2].partition("&")[0]
    for _ in range(25):
        letters = list(cursor)
        for _ in range(dice.randint(1, 4)):
            letters[dice.randrange(len(letters))] = dice.choice("AZaz09-_")
        answer = api.get(f"{API}/images?order={order}&cursor={''.join(letters)}")
        assert answer.status_code in (200, 400, 422), "".join(letters)


# --- searches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tags", "finds", "misses"),
    [
        ("12.png", [], ["12", "1", "png", "PNG", "12.png", "12 png", "png 12", "p"], ["2", "ng"]),
        ("IMG_2041-final.JPG", [], ["img", "2041", "fin", "jpg img", "img_2041"], ["41", "nal"]),
        ("Käthe à la plage.jpg", [], ["käthe", "KÄTHE", "kä", "à", "pla la"], ["kathe", "lage"]),
        ("Ka\u0308the.jpg", [], ["käthe", "Ka\u0308th"], ["ka"]),
        ("猫の写真.jpg", [], ["猫", "猫の写真"], ["写真"]),
        ("кошка.jpg", [], ["кош", "КОШКА"], ["шка"]),
        ("cat.jpg", ["holiday 2026", "Ä"], ["holi", "2026 cat", "ä"], ["day"]),
        ("v1.5e3 100%.jpg", [], ["v1", "100", "100%", "5e3", "1.5e3"], ["00"]),
        ("a'b\\c|d&e!f:*.jpg", [], ["a'b", "b\\", "c|d", "d&e", "!f", "f:*", "(a)"], ["q"]),
        ("the and or.jpg", [], ["the", "and", "or"], ["not"]),
    ],
)
def test_a_search_finds_beginnings_of_words(
    api: APIClient, alice: User, name: str, tags: list[str], finds: list[str], misses: list[str]
) -> None:
    row = image(alice, name=clean_name(name), tags=tags)
    image(alice, name="zzz.gif")
    for text in finds:
        assert ids(api.get(f"{API}/images", {"q": text}).json()) == [str(row.id)], text
    for text in misses:
        assert ids(api.get(f"{API}/images", {"q": text}).json()) == [], text


@pytest.mark.parametrize("text", ["", " ", "...", "-_-"])
def test_a_search_for_no_word_finds_everything(api: APIClient, alice: User, text: str) -> None:
    image(alice)
    assert len(ids(api.get(f"{API}/images", {"q": text}).json())) == 1


@pytest.mark.parametrize("text", ["😀", "—", "\u200b", "<->", "a:*b", "x" * 200, "' or 1=1 --"])
def test_no_search_is_a_fault(api: APIClient, alice: User, text: str) -> None:
    image(alice)
    assert api.get(f"{API}/images", {"q": text}).status_code == 200


@pytest.mark.parametrize("query", ["q=%00", f"q={'x' * 201}", "type=tiff", "sha256=%00"])
def test_searches_that_are_refused(api: APIClient, query: str) -> None:
    answer = api.get(f"{API}/images?{query}")
    assert refusal(answer) == (422, "invalid")
    assert answer.json()["errors"][0]["pointer"] == f"/{query.partition('=')[0]}"


def test_a_search_is_made_in_pages_too(api: APIClient, album: list[Image]) -> None:
    wanted = [row for row in album if row.name == "a.jpg"]
    found = list(pages(api, f"{API}/images?q=a&limit=2&order=date"))
    assert [one for page in found for one in ids(page)] == ordered(wanted, "date")


def test_by_type(api: APIClient, alice: User) -> None:
    row = image(alice, content_type="image/png")
    image(alice)
    for kind in "png", "image/png":
        assert ids(api.get(f"{API}/images?type={kind}").json()) == [str(row.id)]
    assert ids(api.get(f"{API}/images?type=gif").json()) == []


def test_by_tags(api: APIClient, alice: User) -> None:
    both = image(alice, tags=["cat", "Käthe"])
    image(alice, tags=["cat"])
    image(alice, tags=["dog"])
    assert len(ids(api.get(f"{API}/images?tag=cat").json())) == 2
    for name in "Käthe", " Käthe", "Ka\u0308the":
        found = api.get(f"{API}/images", {"tag": ["cat", name]})
        assert ids(found.json()) == [str(both.id)], name
    for name in "", "ca", "CAT", "\0", "cat,dog":
        assert ids(api.get(f"{API}/images", {"tag": [name, "cat"]}).json()) == [], name
    for name in "", " ":
        assert len(ids(api.get(f"{API}/images", {"tag": ["cat", name]}).json())) == 3, name


def test_by_hash_finds_copies(api: APIClient, alice: User) -> None:
    row = image(alice, sha256="a" * 64)
    image(alice)
    assert ids(api.get(f"{API}/images?sha256={'a' * 64}").json()) == [str(row.id)]
    assert ids(api.get(f"{API}/images?sha256=nonsense").json()) == []


def test_searches_may_be_combined(api: APIClient, alice: User) -> None:
    row = image(alice, name="a b.png", content_type="image/png", tags=["x"])
    image(alice, name="a c.png", content_type="image/png", tags=["x"])
    image(alice, name="a b.jpg", tags=["x"])
    assert ids(api.get(f"{API}/images?q=b&type=png&tag=x").json()) == [str(row.id)]


# --- trash and uploads ----------------------------------------------------------------------------


def test_the_trash_is_a_list_of_its_own(api: APIClient, alice: User) -> None:
    there = image(alice)
    trashed = [image(alice, trashed_at=NOON, name=f"{n}.jpg") for n in range(5)]
    assert ids(api.get(f"{API}/images").json()) == [str(there.id)]
    found = [one for page in pages(api, f"{API}/images/trash?limit=2") for one in ids(page)]
    assert found == ordered(trashed, "-date")
    assert ids(api.get(f"{API}/images/trash?q=3").json()) == [str(trashed[3].id)]


def test_uploads_are_listed_in_pages(api: APIClient, alice: User) -> None:
    rows = [upload(alice) for _ in range(5)]
    found = [one for page in pages(api, f"{API}/uploads?limit=2") for one in ids(page)]
    assert found == [str(row.id) for row in reversed(rows)]
    assert ids(api.get(f"{API}/uploads?order=created_at").json()) == found[::-1]


def test_uploads_by_state(api: APIClient, alice: User) -> None:
    rows = {
        "announced": upload(alice),
        "staged": upload(alice, state="staged", staged_at=NOON),
        "refused": upload(alice, state="refused", error_code="empty", error_detail="Empty."),
        "expired": upload(alice, state="expired"),
    }
    for state, row in rows.items():
        (found,) = api.get(f"{API}/uploads?state={state}").json()["results"]
        assert (found["id"], found["state"]) == (str(row.id), state)
    assert refusal(api.get(f"{API}/uploads?state=eaten")) == (422, "invalid")


# --- what they cost -------------------------------------------------------------------------------


def queries(ask: Callable[[], Any]) -> int:
    ask()  # the first request of a minute notes that the key was used
    with CaptureQueriesContext(connection) as seen:
        assert ask().status_code == 200
    return len(seen)


@pytest.mark.parametrize(
    "address",
    [
        "images?",
        "images?order=name&",
        "images?q=cat&type=jpeg&tag=x&",
        "images/trash?",
        "uploads?",
        "uploads?state=announced&",
    ],
)
def test_a_list_costs_the_same_for_two_and_for_twenty(
    api: APIClient, alice: User, address: str
) -> None:
    for _ in range(20):
        image(alice, tags=["x"])
        image(alice, tags=["x"], trashed_at=NOON)
        upload(alice)
    counts = []
    for limit in 2, 20:
        page = api.get(f"{API}/{address}limit={limit}").json()
        assert len(page["results"]) == limit
        counts.append(queries(lambda limit=limit: api.get(f"{API}/{address}limit={limit}")))  # type: ignore[misc]
    assert counts[0] == counts[1] <= 5


def test_the_keys_cost_the_same_for_two_and_for_twenty(api: APIClient, alice: User) -> None:
    ApiKey.objects.mint(alice, scopes=["read"])
    few = queries(lambda: api.get(f"{API}/keys"))
    for _ in range(18):
        ApiKey.objects.mint(alice, scopes=["read"])
    assert len(api.get(f"{API}/keys").json()["results"]) == 20
    assert queries(lambda: api.get(f"{API}/keys")) == few <= 3


def test_a_deep_page_reads_no_more_rows_than_the_first(
    api: APIClient, alice: User, album: list[Image]
) -> None:
    """The condition of the page is one the index can begin at, not a filter over what lies before."""
    with CaptureQueriesContext(connection) as seen:
        *_, _last = pages(api, f"{API}/images?limit=10")
    sql = [query["sql"] for query in seen if "media_api_image" in query["sql"]][-1]
    with connection.cursor() as cursor:
        cursor.execute(
            "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off"
        )
        cursor.execute(f"EXPLAIN {sql}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute("RESET ALL")
    assert "image_date" in plan
    assert "Index Cond" in plan
    assert "ROW(date, id)" in plan.split("Index Cond")[1].split("\n")[0]


# --- the stranger ---------------------------------------------------------------------------------


def test_a_stranger_sees_none_of_it(
    api: APIClient, stranger: APIClient, alice: User, album: list[Image]
) -> None:
    image(alice, trashed_at=NOON)
    upload(alice)
    middle = path_of(api.get(f"{API}/images?limit=5").json()["next"])
    for address in f"{API}/images", f"{API}/images/trash", f"{API}/uploads", middle:
        assert stranger.get(address).json()["results"] == []
