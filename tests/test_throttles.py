"""How often somebody may ask: exact however many ask at once, told in the answer, and never in the way of a person."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, connections
from django.test import Client, override_settings
from rest_framework.test import APIClient

from media_api import sweeps
from media_api.models import ApiKey, Image, SignInLink, Throttle, Upload, uuid7
from media_api.storage import ImageStorage
from media_api.throttles import Limit, in_words, limit_of, take_each
from project import settings
from tests import pictures
from tests.conftest import client_of, objects, visitor
from tests.sending import API, Answer, announce, refusal, send

Keep = Callable[..., Image]


def limited(name: str, quota: int, seconds: int = 3600) -> Any:
    return override_settings(**{f"THROTTLE_{name.upper()}": (quota, seconds)})


def at_once(number: int, ask: Callable[[], Any]) -> list[Any]:
    """The answers to as many questions at the same time, each on a thread with a connection of its own."""

    def one(_: int) -> Any:
        try:
            return ask()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as threads:
        return list(threads.map(one, range(number)))


def pass_time(seconds: float) -> None:
    """As if the database's clock had moved on."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE media_api_throttle SET full_at = full_at - %s * interval '1 second'", [seconds]
        )


# --- counting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("quota", [1, 7, 50])
def test_exactly_the_quota_is_taken_however_many_ask_at_once(quota: int) -> None:
    limit = Limit("list", quota, 3600)
    standings = at_once(200, lambda: take_each([(limit, "somebody")]))
    taken = [standing for standing in standings if standing.is_taken]
    assert len(taken) == quota
    assert sorted(standing.remaining for standing in taken) == list(range(quota))
    assert all(standing.remaining == 0 for standing in standings if not standing.is_taken)


def test_exactly_the_quota_of_real_requests_is_answered(alice: User) -> None:
    _, key = ApiKey.objects.mint(alice, scopes=["read"])
    headers = {"Authorization": f"Bearer {key}"}
    with limited("list", 30):
        answers = at_once(200, lambda: visitor(**headers).get(f"{API}/images").status_code)
    assert (answers.count(200), answers.count(429)) == (30, 170)


@pytest.mark.parametrize("quota", [7, 1001])
def test_a_quota_that_does_not_divide_its_time_is_exact_too(quota: int) -> None:
    limit = Limit("list", quota, 86_400)
    taken = [take_each([(limit, "somebody")]).is_taken for _ in range(quota + 2)]
    assert taken == [True] * quota + [False] * 2


def test_it_refills_evenly() -> None:
    limit = Limit("list", 10, 600)
    assert [take_each([(limit, "somebody")]).is_taken for _ in range(11)] == [True] * 10 + [False]
    pass_time(40)
    assert not take_each([(limit, "somebody")]).is_taken
    pass_time(20)
    assert [take_each([(limit, "somebody")]).is_taken for _ in range(2)] == [True, False]
    pass_time(180)
    assert [take_each([(limit, "somebody")]).is_taken for _ in range(4)] == [True] * 3 + [False]
    pass_time(10_000)
    assert [take_each([(limit, "somebody")]).is_taken for _ in range(11)] == [True] * 10 + [False]


def test_it_refills_by_the_real_clock() -> None:
    limit = Limit("list", 20, 2)
    began, taken = monotonic(), 0
    while taken < 40:
        taken += take_each([(limit, "somebody")]).is_taken
    assert monotonic() - began > 1.9
    sleep(0.2)
    assert take_each([(limit, "somebody")]).is_taken


def test_a_refusal_says_when(alice: User) -> None:
    """To come back at the moment that was told is soon enough; half a minute earlier is too soon."""
    client = client_of(alice)
    with limited("list", 2, 600):
        answers = [client.get(f"{API}/images") for _ in range(3)]
        wait = int(answers[2]["Retry-After"])
        assert refusal(answers[2]) == (429, "rate_limited")
        assert 290 < wait <= 300
        assert "Try again in 5 minutes." in answers[2].json()["detail"]
        pass_time(wait - 30)
        assert client.get(f"{API}/images").status_code == 429
        pass_time(30)
        assert client.get(f"{API}/images").status_code == 200


def test_a_crash_forgets_counters_and_their_rows_cost_no_log() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relpersistence FROM pg_class WHERE relname = ANY(%s)",
            [["media_api_throttle", "media_api_throttle_pkey"]],
        )
        assert cursor.fetchall() == [("u",), ("u",)]


def test_what_is_full_again_is_forgotten() -> None:
    limit = Limit("list", 10, 3600)
    take_each([(limit, "long ago")])
    pass_time(3600)
    take_each([(limit, "now")])
    assert sweeps.forget_throttles() == 1
    assert Throttle.objects.get().key == "now"


# --- who shares -----------------------------------------------------------------------------------


def test_two_accounts_do_not_share(alice: User, mallory: User) -> None:
    with limited("list", 3):
        answers = [client_of(mallory).get(f"{API}/images").status_code for _ in range(4)]
        assert answers == [200, 200, 200, 429]
        assert client_of(alice).get(f"{API}/images").status_code == 200


def test_all_keys_and_sessions_of_an_account_share(alice: User) -> None:
    browser = visitor()
    browser.force_login(alice)
    with limited("list", 3):
        for ask in (browser.get, client_of(alice).get):
            assert ask(f"{API}/images").status_code == 200
        assert browser.get("/").status_code == 200
        assert client_of(alice, "read").get(f"{API}/images").status_code == 429
        assert browser.get("/").status_code == 429


def test_many_accounts_of_one_address_share_ten_times_as_much() -> None:
    people = [client_of(User.objects.create_user(f"person{n}")) for n in range(11)]
    with limited("list", 2):
        for person in people[:10]:
            assert [person.get(f"{API}/images").status_code for _ in range(2)] == [200, 200]
        refused = people[10].get(f"{API}/images")
        assert refusal(refused) == (429, "rate_limited")
        assert refused["RateLimit-Policy"] == '"list-address";q=20;w=3600'
        elsewhere = people[10].get(f"{API}/images", REMOTE_ADDR="203.0.113.9")
    assert elsewhere.status_code == 200
    assert elsewhere["RateLimit"].startswith('"list";r=1;')  # what was refused was not counted


def test_an_ipv6_client_cannot_change_its_address(alice: User) -> None:
    people = [client_of(User.objects.create_user(f"person{n}")) for n in range(12)]
    with limited("list", 1):
        answers = [
            person.get(f"{API}/images", REMOTE_ADDR=f"2001:db8:1:2:{number:x}::7").status_code
            for number, person in enumerate(people[:11])
        ]
        assert answers == [200] * 10 + [429]
        other = people[11].get(f"{API}/images", REMOTE_ADDR="2001:db8:1:3::7")
        assert other.status_code == 200


def test_a_strange_address_is_an_address(alice: User) -> None:
    for address in ("", "unix:"):
        answer = client_of(alice).get(f"{API}/images", REMOTE_ADDR=address)
        assert answer.status_code < 500, address


# --- what is counted ------------------------------------------------------------------------------

COUNTED = {
    "list": [f"GET {API}/images", f"GET {API}/images/trash", f"GET {API}/uploads", "GET /", "GET /trash/",
             "GET /uploads/", f"HEAD {API}/images", "HEAD /"],
    "links": [f"GET {API}/images/{{id}}/content", "GET /i/{id}/320", "GET /i/{id}/original",
              f"POST {API}/images/links"],
    "announce": [f"POST {API}/images", f"POST {API}/uploads"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "call"), [(name, call) for name, calls in COUNTED.items() for call in calls]
)
def test_each_address_is_counted(alice: User, storage: ImageStorage, name: str, call: str) -> None:
    client = APIClient(raise_request_exception=False)
    client.force_login(alice)
    method, _, path = call.format(id=uuid7()).partition(" ")
    generic: Any = client.generic
    with limited(name, 2):
        answers = [generic(method, path, "{}", "application/json") for _ in range(3)]
    assert [answer.status_code == 429 for answer in answers] == [False, False, True], answers
    assert 1790 < int(answers[2]["Retry-After"]) <= 1800
    is_api = path.startswith("/api/")
    for answer in answers:
        assert ("RateLimit" in answer, "RateLimit-Policy" in answer) == (is_api, is_api)
    if not is_api and method == "GET":
        assert "Please wait a little" in answers[2].content.decode()
        assert "Try again in 30 minutes." in answers[2].content.decode()


def test_what_is_not_counted_has_no_limit(api: APIClient, alice: User) -> None:
    with limited("list", 1), limited("links", 1), limited("announce", 1):
        for _ in range(3):
            assert api.get(f"{API}/account").status_code == 200
            assert api.options(f"{API}/images").status_code == 200
            answer = api.get(f"{API}/images/{uuid7()}")
            assert refusal(answer) == (404, "not_found")
            assert "RateLimit" not in answer


@pytest.mark.parametrize(
    ("text", "rate"), [("10/hour", (10, 3600)), ("3000/minute", (3000, 60)), ("none", None)]
)
def test_a_limit_is_written_as_people_say_it(text: str, rate: object) -> None:
    assert settings.rate(text) == rate


@pytest.mark.parametrize(
    "text",
    ["10", "10/fortnight", "0/hour", "-1/hour", "1.5/hour", "/hour", "²/hour", "1000001/day"],
)
def test_a_limit_that_cannot_be_read_is_said(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="A throttle is a number"):
        settings.rate(text)


@pytest.mark.parametrize("name", COUNTED)
def test_a_limit_can_be_switched_off(api: APIClient, name: str) -> None:
    with override_settings(**{f"THROTTLE_{name.upper()}": None}):
        for call in COUNTED[name]:
            if call.startswith(f"GET {API}"):
                assert "RateLimit" not in api.get(call.partition(" ")[2].format(id=uuid7()))
        assert not Throttle.objects.exists()


def test_nobody_is_counted_before_they_are_known(client: Client) -> None:
    with limited("list", 1):
        for _ in range(3):
            assert client.get(f"{API}/images").status_code == 401
            assert client.get("/").status_code == 302
    assert not Throttle.objects.exists()


def test_an_announcement_that_is_refused_leaves_nothing(
    api: APIClient, storage: ImageStorage
) -> None:
    with limited("announce", 1):
        assert announce(api, b"x").status_code == 201
        assert refusal(announce(api, b"x")) == (429, "rate_limited")
        assert refusal(send(api, pictures.jpeg())) == (429, "rate_limited")
    assert Upload.objects.count() == 1
    assert objects(storage) == []


def test_a_refusal_comes_before_the_body_is_read(api: APIClient) -> None:
    class Body:
        def read(self, *_: Any) -> bytes:
            raise AssertionError("the body was read")

        readline = read

    length: Any = {"CONTENT_LENGTH": "1000", "CONTENT_TYPE": "image/jpeg", "wsgi.input": Body()}
    with limited("announce", 1):
        announce(api, b"x")
        assert refusal(api.post(f"{API}/images", **length)) == (429, "rate_limited")


def test_each_file_of_a_form_is_counted(alice: User, storage: ImageStorage) -> None:
    browser = visitor()
    browser.force_login(alice)
    files = [SimpleUploadedFile(f"{n}.jpg", pictures.jpeg(), "image/jpeg") for n in range(3)]
    with limited("announce", 2):
        browser.post("/upload/", {"file": files})
    page = browser.get("/uploads/").content.decode()
    assert "2 pictures have arrived." in page
    assert "2.jpg was not kept. Too many requests. Try again in 30 minutes." in page
    assert Upload.objects.count() == 2


def test_a_request_that_fails_was_counted(api: APIClient) -> None:
    with limited("announce", 1):
        assert refusal(api.post(f"{API}/uploads", {}, format="json")) == (422, "invalid")
        assert refusal(announce(api, b"x")) == (429, "rate_limited")


# --- what a client is told ------------------------------------------------------------------------

ITEM = r'"([a-z-]+)"((?:;[a-z]+=\d+)+)'  # a String with Integer parameters: RFC 9651, 3.3


def structured(field: str) -> tuple[str, dict[str, int]]:
    match = re.fullmatch(ITEM, field)
    assert match, field
    parameters = (pair.split("=") for pair in match[2].split(";")[1:])
    return match[1], {name: int(value) for name, value in parameters}


def test_each_answer_says_how_it_stands(api: APIClient) -> None:
    with limited("list", 3, 60):
        answers = [api.get(f"{API}/images") for _ in range(4)]
    for answer, remaining in zip(answers, [2, 1, 0, 0], strict=True):
        assert structured(answer["RateLimit-Policy"]) == ("list", {"q": 3, "w": 60})
        name, standing = structured(answer["RateLimit"])
        assert (name, standing["r"]) == ("list", remaining)
        assert 0 < standing["t"] <= 20
    assert int(answers[3]["Retry-After"]) == structured(answers[3]["RateLimit"])[1]["t"]


def test_redirects_and_refusals_say_it_too(api: APIClient, alice: User, keep: Keep) -> None:
    image = keep(alice)
    for path, status in ((image.id, 302), (uuid7(), 404)):
        answer = api.get(f"{API}/images/{path}/content")
        assert (answer.status_code, structured(answer["RateLimit"])[0]) == (status, "links")


def test_the_description_tells_of_limits(client: Client) -> None:
    paths = client.get(f"{API}/openapi.json").json()["paths"]
    described = {
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "429" in operation["responses"]
        and all(
            {"RateLimit", "RateLimit-Policy"} <= answer["headers"].keys()
            for answer in operation["responses"].values()
        )
    }
    api_calls = [call for calls in COUNTED.values() for call in calls if f" {API}" in call]
    counted = {
        call.replace("{id}", "{image_id}") for call in api_calls if not call.startswith("HEAD")
    }
    assert described == counted


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "in a second"),
        (59, "in 59 seconds"),
        (60, "in 60 seconds"),
        (61, "in 2 minutes"),
        (240, "in 4 minutes"),
        (3601, "in 2 hours"),
    ],
)
def test_time_in_words(seconds: int, words: str) -> None:
    assert in_words(seconds) == words


# --- never in the way -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number", "within"),
    [
        ("links", 2000, 60),  # ten pages of 200 pictures, looked through in a minute
        ("announce", 500, 1),  # 500 files dropped on a page
        ("announce", 10_000, 55),  # a folder that a program sends as fast as it is taken
        ("list", 1200, 600),  # two pages a second, for ten minutes
    ],
)
def test_no_person_and_no_mirror_meets_the_defaults(name: str, number: int, within: int) -> None:
    limit = limit_of(name)
    assert limit
    assert number <= limit.quota * (1 + within / limit.seconds)
    assert limit.quota * (1 + 600 / limit.seconds) < 300 * 600  # but a script without end does


# --- passwords ------------------------------------------------------------------------------------


def sign_in(name: str, password: str, address: str = "192.0.2.1", **headers: Any) -> Answer:
    return visitor().post(
        "/login/", {"username": name, "password": password}, REMOTE_ADDR=address, **headers
    )


def statuses(number: int, name: str, address: str = "192.0.2.1") -> list[int]:
    return [sign_in(name, "wrong", address).status_code for _ in range(number)]


@pytest.mark.parametrize("name", ["alice", "nobody"])
def test_wrong_passwords_end_soon(alice: User, name: str) -> None:
    with limited("sign_in", 3, 720):
        assert statuses(3, name) == [200] * 3
        refused = sign_in(name, "wonderland-7")  # right or wrong: it is not looked at
        assert refused.status_code == 429
        assert 230 < int(refused["Retry-After"]) <= 240
        page = refused.content.decode()
        assert "Too many wrong tries. Try again in 4 minutes, or use a new sign-in link." in page
        pass_time(240)
        assert sign_in("alice", "wonderland-7").status_code == 302


def test_a_lock_says_nothing_of_who_exists(alice: User) -> None:
    def seen(name: str) -> list[tuple[Any, ...]]:
        found = []
        for _ in range(3):
            answer = sign_in(name, "wrong")
            body = re.sub(
                r"<code>[0-9a-f-]{36}|value=\"\w{64}\"|value=\"(alice|nobody)\"",
                "",
                answer.content.decode(),
            )
            found.append((answer.status_code, answer.get("Retry-After"), body))
        return found

    with limited("sign_in", 2):
        assert seen("alice") == seen("nobody")


def test_many_guesses_at_once_are_no_more_than_many_in_a_row(alice: User) -> None:
    with limited("sign_in", 5):
        answers = at_once(40, lambda: sign_in("alice", "wrong").status_code)
    assert (answers.count(200), answers.count(429)) == (5, 35)


def test_a_stranger_elsewhere_does_not_lock_alice_out(alice: User) -> None:
    with limited("sign_in", 3):
        assert statuses(30, "alice", "203.0.113.66")[3:] == [429] * 27
        assert sign_in("alice", "wonderland-7", "192.0.2.1").status_code == 302


def test_many_addresses_are_stopped_by_the_name(alice: User) -> None:
    with limited("sign_in", 3):
        for number in range(10):
            assert statuses(3, "alice", f"203.0.113.{number}") == [200] * 3
        assert statuses(1, "alice", "198.51.100.1") == [429]
        assert statuses(1, "mallory", "198.51.100.1") == [200]


def test_many_names_are_stopped_by_the_address(alice: User) -> None:
    with limited("sign_in", 3):
        assert [sign_in(f"name{n}", "wrong").status_code for n in range(30)] == [200] * 30
        assert statuses(1, "another") == [429]
        assert statuses(1, "another", "198.51.100.1") == [200]


def test_right_passwords_are_not_counted_and_forgive_nothing(alice: User, mallory: User) -> None:
    """Who has an account cannot wash an address clean by signing in between two guesses."""
    with limited("sign_in", 2):
        for _ in range(30):
            assert sign_in("mallory", "wonderland-8").status_code == 302
        for number in range(20):
            assert sign_in("mallory", "wonderland-8").status_code == 302
            assert sign_in(f"name{number}", "wrong").status_code == 200
        assert sign_in("alice", "wrong").status_code == 429


def test_a_sign_in_link_always_works(alice: User) -> None:
    token = SignInLink.objects.mint(alice)
    with limited("sign_in", 1):
        statuses(2, "alice")
        answers = [visitor().post(f"/login/wrong{n}/", REMOTE_ADDR="192.0.2.1") for n in range(11)]
        assert [answer.status_code for answer in answers] == [410] * 9 + [429] * 2
        assert "sign-in link" in answers[-1].content.decode()
        for method in ("get", "post"):
            assert getattr(visitor(), method)(
                f"/login/{token}/", REMOTE_ADDR="192.0.2.1"
            ).status_code in (200, 302)


def test_the_admin_has_no_door_of_its_own(alice: User) -> None:
    root = User.objects.create_superuser("root", password="wonderland-9")
    answer = visitor().post(
        "/admin/login/?next=/admin/auth/", {"username": "root", "password": "wonderland-9"}
    )
    assert (answer.status_code, answer["Location"]) == (302, "/login/?next=/admin/auth/")
    assert answer.wsgi_request.user.is_anonymous
    staff = visitor()
    arrived = staff.post(
        "/login/?next=/admin/", {"username": "root", "password": "wonderland-9"}, follow=True
    )
    assert (arrived.redirect_chain, arrived.status_code) == ([("/admin/", 302)], 200)
    assert staff.get("/admin/login/")["Location"] == "/admin/"
    assert (
        staff.post("/admin/password_change/", {"old_password": "x"})["Location"]
        == "/account/password/"
    )
    assert staff.get("/admin/").status_code == 200
    assert root.check_password("wonderland-9")


def test_who_is_not_staff_can_guess_nothing_in_the_admin(alice: User) -> None:
    User.objects.create_superuser("root", password="wonderland-9")
    browser = visitor()
    browser.force_login(alice)
    address, form = (
        "/admin/login/?next=/admin/",
        {"username": "root", "password": "wonderland-9"},
    )
    assert browser.get(address).status_code == 404
    assert browser.post(address, form).status_code == 404
    assert browser.get("/admin/", follow=True).status_code == 404


def test_an_open_session_is_no_place_to_guess_either(alice: User) -> None:
    browser = visitor()
    browser.force_login(alice)
    new = {"new_password1": "looking-glass-8", "new_password2": "looking-glass-8"}

    def change(old: str) -> Answer:
        return browser.post("/account/password/", {"old_password": old, **new})

    with limited("sign_in", 2, 240):
        assert [change("wrong").status_code for _ in range(3)] == [200, 200, 429]
        assert "Try again in 2 minutes" in change("wonderland-7").content.decode()
        pass_time(240)
        weak = {"new_password1": "x", "new_password2": "x", "old_password": "wonderland-7"}
        for _ in range(5):  # the old one is right: that is no guess
            assert browser.post("/account/password/", weak).status_code == 200
        assert change("wonderland-7").status_code == 302
    alice.refresh_from_db()
    assert alice.check_password("looking-glass-8")


def test_what_was_typed_as_a_name_is_not_written_down() -> None:
    sign_in("my-secret-password", "alice")
    keys = list(Throttle.objects.values_list("key", flat=True))
    assert len(keys) == 3
    assert not any("my-secret-password" in key for key in keys)


def test_sign_in_may_be_tried_without_end_if_it_is_switched_off(alice: User) -> None:
    with override_settings(THROTTLE_SIGN_IN=None):
        assert statuses(25, "alice") == [200] * 25
        assert visitor().post("/login/wrong/").status_code == 410
    assert not Throttle.objects.exists()
