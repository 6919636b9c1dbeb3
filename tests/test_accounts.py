"""Who is asking: API keys and their scopes, sessions with CSRF, sign-in links; what an account has."""

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.db.models.functions import Now
from rest_framework.test import APIClient

from media_api.models import (
    ApiKey,
    Image,
    Installation,
    SignInLink,
    clean_name,
    database_now,
    uuid7,
)
from media_api.storage import EPOCH_KEY, ImageStorage
from tests import pictures
from tests.conftest import Work, client_of, store_down, visitor
from tests.sending import API, announce, post_bytes, read, refusal, send, send_directly

Keep = Callable[..., Image]

# Everything that can be asked for, with the scope that it takes.
ADDRESSES = [
    ("get", "images", "read"),
    ("post", "images", "write"),
    ("get", "images/trash", "read"),
    ("post", "images/delete", "write"),
    ("post", "images/restore", "write"),
    ("post", "images/tags", "write"),
    ("post", "images/links", "read"),
    ("get", "images/{id}", "read"),
    ("patch", "images/{id}", "write"),
    ("delete", "images/{id}", "write"),
    ("post", "images/{id}/restore", "write"),
    ("get", "images/{id}/content", "read"),
    ("get", "uploads", "read"),
    ("post", "uploads", "write"),
    ("get", "uploads/{id}", "read"),
    ("delete", "uploads/{id}", "write"),
    ("post", "uploads/{id}/parts", "write"),
    ("post", "uploads/{id}/complete", "write"),
    ("get", "account", "read"),
    ("get", "keys", "read"),
    ("post", "keys", "write"),
    ("delete", "keys/1", "write"),
]


def bearer(text: str) -> APIClient:
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=text)
    return client


def browser(owner: User) -> APIClient:
    """Signed in as a browser is; whatever changes something needs the CSRF token."""
    client = APIClient(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(owner)
    return client


# --- the account ----------------------------------------------------------------------------------


def test_the_account_says_what_is_used(
    api: APIClient, alice: User, mallory: User, keep: Keep, work: Work
) -> None:
    body = pictures.jpeg()
    for _ in range(3):
        keep(alice, body)
    keep(mallory, body)
    api.delete(f"{API}/images/{Image.objects.of(alice)[0].id}")
    announce(api, b"x" * 100)
    send_directly(api, b"no picture")
    work()  # refused: not under way any more
    assert api.get(f"{API}/account").json() == {
        "name": "alice",
        "used": 3 * len(body) + 100,
        "quota": None,
        "images": 2,
        "uploads": 1,
        "trash": 1,
    }


def test_a_new_account_is_empty(alice: User) -> None:
    account = client_of(alice).get(f"{API}/account").json()
    assert (account["used"], account["images"], account["uploads"], account["trash"]) == (
        0,
        0,
        0,
        0,
    )


# --- keys -----------------------------------------------------------------------------------------


def test_a_key_is_made_used_and_revoked(alice: User) -> None:
    owner = client_of(alice)
    made = owner.post(f"{API}/keys", {"name": "camera", "scopes": ["read", "read"]}, format="json")
    assert made.status_code == 201
    key = made.json()
    assert (key["name"], key["scopes"], key["last_used_at"]) == ("camera", ["read"], None)
    assert key["expires_at"] is None
    assert key["key"].startswith(f"sbx_{key['prefix']}_")

    reader = bearer(f"Bearer {key['key']}")
    assert reader.get(f"{API}/account").json()["name"] == "alice"
    listed = {row["id"]: row for row in owner.get(f"{API}/keys").json()["results"]}
    assert listed[key["id"]]["last_used_at"]
    assert "key" not in listed[key["id"]]
    assert "digest" not in listed[key["id"]]

    assert owner.delete(f"{API}/keys/{key['id']}").status_code == 204
    assert refusal(reader.get(f"{API}/account")) == (401, "unauthenticated")
    assert refusal(owner.delete(f"{API}/keys/{key['id']}")) == (404, "not_found")


@pytest.fixture
def deleted_meanwhile(alice: User) -> Iterator[None]:
    """Alice is deleted when her key is about to be written."""

    def delete_first(execute: Callable[..., Any], statement: str, *arguments: Any) -> Any:
        if statement.startswith('INSERT INTO "media_api_apikey"'):
            User.objects.filter(id=alice.id).delete()
        return execute(statement, *arguments)

    with connection.execute_wrapper(delete_first):
        yield


def test_who_is_deleted_meanwhile_gets_no_key(
    api: APIClient, alice: User, deleted_meanwhile: None
) -> None:
    answer = api.post(f"{API}/keys", {"scopes": ["read"]}, format="json")
    assert refusal(answer) == (404, "not_found")
    assert not User.objects.exists()


def test_who_is_deleted_meanwhile_gets_no_key_on_the_page(
    alice: User, storage: ImageStorage, deleted_meanwhile: None
) -> None:
    browser = visitor()
    browser.force_login(alice)
    assert browser.post("/keys/", {"scopes": ["read"]}).status_code == 404
    assert not User.objects.exists()


def test_the_secret_is_not_stored(alice: User) -> None:
    key, text = ApiKey.objects.mint(alice, scopes=["read"])
    secret = text.split("_", 2)[2]
    assert len(secret) >= 32
    assert all(
        secret not in str(value) for value in ApiKey.objects.values().get(id=key.id).values()
    )


def test_use_is_noted_once_a_minute(alice: User) -> None:
    client = client_of(alice)
    client.get(f"{API}/account")
    noted = ApiKey.objects.get().last_used_at
    client.get(f"{API}/account")
    assert ApiKey.objects.get().last_used_at == noted
    ApiKey.objects.update(last_used_at=Now() - timedelta(seconds=61))
    client.get(f"{API}/account")
    again = ApiKey.objects.get().last_used_at
    assert noted is not None
    assert again is not None
    assert again >= noted


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        ({}, "/scopes"),
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["admin"]}, "/scopes/0"),
        ({"scopes": "read"}, "/scopes"),
        ({"scopes": ["read"], "name": "x" * 101}, "/name"),
        ({"scopes": ["read"], "name": "\0"}, "/name"),
        ({"scopes": ["read"], "expires_at": "2026-01-01T00:00:00Z"}, "/expires_at"),
        ({"scopes": ["read"], "expires_at": "tomorrow"}, "/expires_at"),
    ],
)
def test_keys_that_are_not_allowed(alice: User, wanted: dict[str, Any], pointer: str) -> None:
    answer = client_of(alice).post(f"{API}/keys", wanted, format="json")
    assert refusal(answer) == (422, "invalid")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_a_key_cannot_make_a_stronger_key(alice: User) -> None:
    writer = client_of(alice, "write")
    for scopes in ["read"], ["read", "write"]:
        answer = writer.post(f"{API}/keys", {"scopes": scopes}, format="json")
        assert refusal(answer) == (403, "forbidden")
    assert writer.post(f"{API}/keys", {"scopes": ["write"]}, format="json").status_code == 201


def test_a_key_revokes_no_stronger_key(alice: User) -> None:
    writer = client_of(alice, "write")
    strong, _ = ApiKey.objects.mint(alice, scopes=["read", "write"])
    assert refusal(writer.delete(f"{API}/keys/{strong.id}")) == (403, "forbidden")
    weak, _ = ApiKey.objects.mint(alice, scopes=["write"])
    assert writer.delete(f"{API}/keys/{weak.id}").status_code == 204


def test_a_key_works_until_its_end(alice: User) -> None:
    end = database_now() + timedelta(hours=1)
    made = client_of(alice).post(
        f"{API}/keys", {"scopes": ["read"], "expires_at": end.isoformat()}, format="json"
    )
    guest = bearer(f"Bearer {made.json()['key']}")
    assert guest.get(f"{API}/account").status_code == 200
    ApiKey.objects.filter(id=made.json()["id"]).update(expires_at=database_now())
    assert refusal(guest.get(f"{API}/account")) == (401, "unauthenticated")


def test_a_key_makes_none_that_lives_longer(alice: User) -> None:
    end = database_now() + timedelta(hours=1)
    _, text = ApiKey.objects.mint(alice, scopes=["write"], expires_at=end)
    guest = bearer(f"Bearer {text}")

    def make(**wanted: object) -> Any:
        return guest.post(f"{API}/keys", {"scopes": ["write"], **wanted}, format="json")

    assert make(expires_at=None).status_code == 403
    assert make(expires_at=(end + timedelta(seconds=1)).isoformat()).status_code == 403
    assert make(expires_at=(end - timedelta(seconds=1)).isoformat()).status_code == 201
    assert make().status_code == 201  # and ends when the key that made it does
    assert ApiKey.objects.filter(expires_at=end).count() == 2


def test_a_session_may_make_any_key(alice: User) -> None:
    client = APIClient()
    client.force_login(alice)
    scopes = {"scopes": ["write", "read"]}
    assert client.post(f"{API}/keys", scopes, format="json").json()["scopes"] == ["read", "write"]


def test_a_stranger_sees_and_revokes_no_key(alice: User, stranger: APIClient) -> None:
    key, _ = ApiKey.objects.mint(alice, scopes=["read"])
    assert refusal(stranger.delete(f"{API}/keys/{key.id}")) == (404, "not_found")
    assert str(key.id) not in [row["id"] for row in stranger.get(f"{API}/keys").json()["results"]]
    assert ApiKey.objects.filter(id=key.id).exists()


def test_the_command_prints_a_key_alone(alice: User) -> None:
    output = StringIO()
    arguments = ["create", "alice", "--scope", "read", "--scope", "write", "--name", "camera"]
    call_command("apikey", *arguments, stdout=output)
    (line,) = output.getvalue().splitlines()
    assert bearer(f"Bearer {line}").get(f"{API}/account").status_code == 200
    assert ApiKey.objects.get().name == "camera"


def test_the_command_makes_a_key_that_ends(alice: User) -> None:
    call_command("apikey", "create", "alice", "--scope", "read", "--days", "30", stdout=StringIO())
    end = ApiKey.objects.get().expires_at
    assert end is not None
    assert timedelta(days=29) < end - database_now() <= timedelta(days=30)
    for days in "0", "-1", "999999999999":
        with pytest.raises(CommandError, match="--days"):
            call_command("apikey", "create", "alice", "--scope", "read", "--days", days)


def test_the_command_lists_and_revokes_keys(alice: User) -> None:
    key, text = ApiKey.objects.mint(alice, scopes=["read"], name="camera")
    output = StringIO()
    call_command("apikey", "list", "alice", stdout=output)
    (line,) = output.getvalue().splitlines()
    assert line.split() == [key.prefix, "read", "ends", "never", "used", "never", "camera"]
    call_command("apikey", "revoke", key.prefix)
    assert bearer(f"Bearer {text}").get(f"{API}/account").status_code == 401
    with pytest.raises(CommandError, match="no key"):
        call_command("apikey", "revoke", key.prefix)


def test_the_command_knows_only_accounts_that_exist() -> None:
    with pytest.raises(CommandError, match="There is no account bob"):
        call_command("apikey", "create", "bob", "--scope", "read")


# --- who is not known -----------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "address", "_scope"), ADDRESSES)
def test_who_is_not_known_is_asked_to_sign_in(method: str, address: str, _scope: str) -> None:
    path = address.format(id="01990000-0000-7000-8000-000000000000")
    answer = getattr(APIClient(), method)(f"{API}/{path}", {}, format="json")
    assert refusal(answer) == (401, "unauthenticated")
    assert answer["WWW-Authenticate"] == 'Bearer realm="Shoebox"'


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "x",
        lambda text: text.replace("sbx", "abc"),
        lambda text: text.split("_")[0],
        lambda text: "_".join(text.split("_")[:2]) + "_",
        lambda text: "sbx_\0\0\0\0\0\0\0\0_x",
        lambda text: "",
        lambda text: "é" * 60,
        lambda text: "sbx_" + "a" * 3000 + "_x",
    ],
)
def test_keys_that_are_not_ours(alice: User, change: Callable[[str], str]) -> None:
    _, text = ApiKey.objects.mint(alice, scopes=["read"])
    client = bearer(f"Bearer {change(text)}".encode().decode("latin-1"))
    answer = client.get(f"{API}/account")
    assert refusal(answer) == (401, "unauthenticated")
    assert "WWW-Authenticate" in answer


def test_the_scheme_is_not_case_sensitive(alice: User) -> None:
    _, text = ApiKey.objects.mint(alice, scopes=["read"])
    assert bearer(f"bearer  {text}").get(f"{API}/account").status_code == 200
    assert bearer(f"Basic {text}").get(f"{API}/account").status_code == 401


def test_an_account_that_was_closed_is_not_known(alice: User) -> None:
    program, page = client_of(alice), browser(alice)
    User.objects.update(is_active=False)
    for client in program, page:
        assert refusal(client.get(f"{API}/account")) == (401, "unauthenticated")


# --- scopes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "address", "scope"), ADDRESSES)
def test_a_key_does_what_its_scope_says(
    alice: User, storage: ImageStorage, method: str, address: str, scope: str
) -> None:
    path = address.format(id="01990000-0000-7000-8000-000000000000")
    statuses = {
        given: getattr(client_of(alice, given), method)(
            f"{API}/{path}", {}, format="json"
        ).status_code
        for given in ("read", "write")
    }
    other = {"read": "write", "write": "read"}[scope]
    assert statuses[scope] not in (401, 403)
    assert statuses[other] == 403


# --- sessions -------------------------------------------------------------------------------------


def test_a_browser_reads_with_its_session(alice: User) -> None:
    assert browser(alice).get(f"{API}/account").json()["name"] == "alice"


@pytest.mark.parametrize(("method", "address"), [(m, a) for m, a, _ in ADDRESSES if m != "get"])
def test_a_browser_changes_nothing_without_the_token(
    alice: User, method: str, address: str
) -> None:
    path = address.format(id="01990000-0000-7000-8000-000000000000")
    answer = getattr(browser(alice), method)(f"{API}/{path}", {}, format="json")
    assert refusal(answer) == (403, "forbidden")


def test_a_browser_sends_the_token_in_a_header(
    alice: User, storage: ImageStorage, work: Work
) -> None:
    client = browser(alice)
    token = "a" * 32
    client.cookies["csrftoken"] = token
    answer = send(client, pictures.jpeg())
    assert refusal(answer) == (403, "forbidden")
    client.credentials(HTTP_X_CSRFTOKEN=token)
    answer = send(client, pictures.jpeg())
    assert answer.status_code == 202
    work()
    assert read(client, answer.json()["id"])["name"] == "cat.jpg"


def test_a_form_that_is_too_long_is_refused_before_its_token_is_looked_for(alice: User) -> None:
    client = browser(alice)
    answer = post_bytes(
        client,
        f"{API}/images",
        content_type="multipart/form-data; boundary=x",
        CONTENT_LENGTH="9" * 12,
    )
    assert refusal(answer) == (413, "too_large")


# --- sign-in links --------------------------------------------------------------------------------


def test_a_link_signs_in_once(alice: User) -> None:
    token = SignInLink.objects.mint(alice)
    assert SignInLink.objects.alive(token).exists()
    assert SignInLink.objects.redeem(token) == alice
    assert SignInLink.objects.redeem(token) is None
    assert not SignInLink.objects.alive(token).exists()


def test_of_two_at_the_same_time_one_gets_in(alice: User) -> None:
    token = SignInLink.objects.mint(alice)

    def redeem(_: int) -> User | None:
        try:
            return SignInLink.objects.redeem(token)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        redeemed = list(pool.map(redeem, range(4)))
    assert sorted(redeemed, key=bool) == [None, None, None, alice]


def test_a_link_dies_after_a_quarter_of_an_hour(alice: User) -> None:
    token = SignInLink.objects.mint(alice)
    left = SignInLink.objects.get().expires_at - database_now()
    assert timedelta(minutes=14) < left <= timedelta(minutes=15)
    SignInLink.objects.update(expires_at=database_now() - timedelta(seconds=1))
    assert SignInLink.objects.redeem(token) is None


def test_links_of_others_live_on(alice: User, mallory: User) -> None:
    first, second = SignInLink.objects.mint(alice), SignInLink.objects.mint(mallory)
    assert SignInLink.objects.redeem(first) == alice
    assert SignInLink.objects.redeem(second) == mallory


@pytest.mark.parametrize("token", ["", "x", "\0", "é" * 100])
def test_tokens_that_are_not_ours(alice: User, token: str) -> None:
    SignInLink.objects.mint(alice)
    assert SignInLink.objects.redeem(token) is None


def test_no_link_opens_an_account_that_was_closed(alice: User) -> None:
    token = SignInLink.objects.mint(alice)
    User.objects.update(is_active=False)
    assert SignInLink.objects.redeem(token) is None


def test_the_token_is_not_stored(alice: User) -> None:
    token = SignInLink.objects.mint(alice)
    assert token not in str(SignInLink.objects.values().get())


def test_the_command_makes_an_account_and_prints_its_link() -> None:
    output = StringIO()
    call_command("user", "bob", "--staff", stdout=output)
    (line,) = output.getvalue().splitlines()
    bob = SignInLink.objects.redeem(line.rstrip("/").rpartition("/")[2])
    assert bob is not None
    assert (bob.username, bob.is_staff, bob.has_usable_password()) == ("bob", True, False)
    call_command("user", "bob", stdout=output)
    assert User.objects.get().is_staff


def test_the_command_leaves_a_password_alone(alice: User) -> None:
    call_command("user", "alice", stdout=StringIO())
    alice.refresh_from_db()
    assert alice.check_password("wonderland-7")


def test_the_bucket_is_prepared_once(storage: ImageStorage) -> None:
    storage.remove([EPOCH_KEY])
    for _ in range(2):
        output = StringIO()
        call_command("prepare_bucket", stdout=output)
        assert output.getvalue() == ""
        assert storage.read(EPOCH_KEY).decode() == str(Installation.objects.get().epoch)


def test_the_bucket_of_another_installation_is_not_prepared(storage: ImageStorage) -> None:
    storage.keep(EPOCH_KEY, b"another", content_type="text/plain")
    with pytest.raises(CommandError, match="belongs to another installation"):
        call_command("prepare_bucket")
    storage.remove([EPOCH_KEY])
    storage.keep("images/x", b"whose?", content_type="text/plain")
    with pytest.raises(CommandError, match="belongs to another installation"):
        call_command("prepare_bucket")
    assert storage.size_of(EPOCH_KEY) is None


def test_without_the_store_the_bucket_is_not_prepared() -> None:
    with store_down(), pytest.raises(CommandError, match="does not answer"):
        call_command("prepare_bucket")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 151, "\0", "a\nb"])
def test_the_command_makes_no_account_of_a_name_that_cannot_sign_in(name: str) -> None:
    with pytest.raises(CommandError):
        call_command("user", name)
    assert not User.objects.exists()


def test_the_commands_make_nothing_for_an_account_that_was_closed(alice: User) -> None:
    User.objects.update(is_active=False)
    with pytest.raises(CommandError, match="alice is switched off"):
        call_command("user", "alice")
    with pytest.raises(CommandError, match="no account alice"):
        call_command("apikey", "create", "alice", "--scope", "read")
    assert not SignInLink.objects.exists()


def test_the_command_makes_no_key_of_a_name_that_is_too_long(alice: User) -> None:
    with pytest.raises(CommandError, match="100 characters"):
        call_command("apikey", "create", "alice", "--scope", "read", "--name", "x" * 101)


def test_the_command_wants_a_scope_that_there_is(alice: User) -> None:
    for arguments in [], ["--scope", "admin"]:
        with pytest.raises(CommandError):
            call_command("apikey", "create", "alice", *arguments)
    assert not ApiKey.objects.exists()


def test_what_is_over_is_forgotten(alice: User, mallory: User, work: Work) -> None:
    from procrastinate.contrib.django import app

    browser(alice)
    SignInLink.objects.mint(alice)
    living = SignInLink.objects.mint(mallory)
    SignInLink.objects.filter(owner=alice).update(expires_at=database_now() - timedelta(seconds=1))
    app.configure_task("forget_sign_ins").defer(timestamp=0)
    work()
    assert SignInLink.objects.get() == SignInLink.objects.alive(living).get()


# --- ids and names --------------------------------------------------------------------------------


def test_ids_lie_in_the_order_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(1_700_000_000_000_000_000, 1_700_000_001_000_000_000, 1_000_000))
    monkeypatch.setattr(time, "time_ns", lambda: next(moments))
    ids = [uuid7() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
    assert {(made.version, made.variant) for made in ids} == {(7, uuid.RFC_4122)}
    assert ids[5].int >> 80 == 1_700_000_000_005


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("cat.jpg", "cat.jpg"),
        (" cat\t.jpg\n", "cat.jpg"),
        ("cafe\u0301", "caf\u00e9"),
        ("a\0b\x7fc\ud800", "abc"),
        ("\0", "unnamed"),
        ("", "unnamed"),
        ("../../etc", "../../etc"),
        ("x" * 254 + " y", "x" * 254),
        ("\U0001f408" * 300, "\U0001f408" * 255),
        ("\u200f\u200e", "\u200f\u200e"),
    ],
)
def test_names_are_cleaned(given: str, kept: str) -> None:
    assert clean_name(given) == kept
    assert clean_name(kept) == kept
