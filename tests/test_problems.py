"""Every refusal has one shape (RFC 9457), inside the framework and outside, and says nothing of our insides."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError, ProgrammingError, connection
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.test import Client
from django.urls import path
from pytest_django import Settings
from rest_framework import exceptions as drf
from rest_framework.test import APIClient

from media_api import exceptions
from media_api.exceptions import Refusal, Verdict
from media_api.models import Image
from media_api.problems import RENAMED, refusal_for
from project import urls
from tests import pictures
from tests.conftest import client_of, store_down
from tests.sending import API, announce, post_bytes, refusal, send

Keep = Callable[..., Image]

NOWHERE = "01990000-0000-7000-8000-000000000000"
INSIDES = re.compile(
    rb"Traceback|psycopg|boto|django\.|\.py|SELECT |site-packages|/tmp/", re.IGNORECASE
)


def shape(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert refusal(answer) == (status, code), answer.content
    problem: dict[str, Any] = answer.json()
    assert set(problem) - {"errors"} == {"type", "title", "status", "detail", "code", "request_id"}
    assert problem["type"].endswith(f"/api/docs/errors/#{code}")
    assert problem["detail"].endswith((".", "`.", "!"))
    assert problem["request_id"] == answer["X-Request-ID"]
    assert not INSIDES.search(answer.content), answer.content
    return problem


def faults() -> Iterator[type[Refusal]]:
    found = list(Refusal.__subclasses__())
    while found:
        kind = found.pop()
        found += kind.__subclasses__()
        if kind is not Verdict:
            yield kind


# --- what they are --------------------------------------------------------------------------------


def test_every_refusal_has_a_code_of_its_own() -> None:
    kinds = list(faults())
    assert len({kind.code for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert re.fullmatch(r"[a-z_]+", kind.code)
        assert 400 <= kind.status < 600
        assert kind.sentence.endswith(".")


def test_a_verdict_is_found_again_by_its_code() -> None:
    for kind in Verdict.__subclasses__():
        again = exceptions.verdict_of(kind.code, "because")
        assert (type(again), again.detail) == (kind, "because")


def test_every_fault_of_a_framework_has_a_name() -> None:
    for raised, kind in RENAMED:
        assert type(refusal_for(raised.__new__(raised))) is kind
    assert type(refusal_for(ZeroDivisionError())) is exceptions.Internal


def test_faults_of_fields_are_told_as_pointers() -> None:
    faults = drf.ValidationError({"a": [{}, {"b": ["x"]}], "non_field_errors": ["y"]})
    pointers = [(error.pointer, error.detail) for error in refusal_for(faults).errors]
    assert pointers == [("/a/1/b", "x"), ("", "y")]


# --- inside the framework -------------------------------------------------------------------------


def test_malformed(api: APIClient) -> None:
    for body in "{", "[" * 200_000, "\xff", '{"size": NaN}', "nul":
        answer = post_bytes(api, f"{API}/uploads", body, content_type="application/json")
        shape(answer, 400, "malformed")


def test_unauthenticated() -> None:
    answer = APIClient().get(f"{API}/images")
    shape(answer, 401, "unauthenticated")
    assert answer["WWW-Authenticate"]


def test_forbidden(alice: User) -> None:
    shape(client_of(alice, "read").post(f"{API}/uploads", {}, format="json"), 403, "forbidden")


@pytest.mark.parametrize(
    "address", [f"images/{NOWHERE}", f"uploads/{NOWHERE}", "images/nonsense", "nowhere", "images/"]
)
def test_not_found(api: APIClient, address: str) -> None:
    shape(api.get(f"{API}/{address}"), 404, "not_found")


def test_method_not_allowed(api: APIClient) -> None:
    answer = api.put(f"{API}/images/{NOWHERE}", {}, format="json")
    shape(answer, 405, "method_not_allowed")
    assert answer["Allow"] == "GET, PATCH, DELETE, HEAD, OPTIONS"


def test_not_acceptable(api: APIClient) -> None:
    shape(api.get(f"{API}/images", HTTP_ACCEPT="text/html"), 406, "not_acceptable")
    assert api.get(f"{API}/images", HTTP_ACCEPT="text/html, */*").status_code == 200


def test_length_required(api: APIClient) -> None:
    answer = post_bytes(
        api, f"{API}/images", content_type="image/jpeg", HTTP_TRANSFER_ENCODING="chunked"
    )
    shape(answer, 411, "length_required")


def test_too_large(api: APIClient, settings: Settings) -> None:
    settings.MAX_UPLOAD_SIZE = 10
    problem = shape(send(api, pictures.jpeg()), 413, "too_large")
    assert "10 bytes" in problem["detail"]


def test_json_that_is_too_large(api: APIClient) -> None:
    ids = {"ids": ["x" * 36] * 30_000}
    shape(api.post(f"{API}/images/delete", ids, format="json"), 413, "too_large")


def test_unsupported_media_type(api: APIClient) -> None:
    for address in "images", "uploads":
        answer = post_bytes(api, f"{API}/{address}", "x", content_type="text/plain")
        shape(answer, 415, "unsupported_media_type")


def test_invalid(api: APIClient) -> None:
    problem = shape(announce(api, b"", size="x", tags=["a,b", "c"]), 422, "invalid")
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [
        ("/size", "invalid"),
        ("/tags", "invalid"),
    ]
    assert all(error["detail"] for error in problem["errors"])


def test_storage_unavailable(api: APIClient) -> None:
    with store_down():
        answer = send(api, pictures.jpeg())
    shape(answer, 503, "storage_unavailable")
    assert int(answer["Retry-After"]) > 0


class Down:
    """The database ends every statement, as one that is being restarted does."""

    def __call__(self, execute: Any, sql: str, *rest: Any) -> Any:
        raise OperationalError('FATAL: server closed the connection; SELECT secret FROM "insides"')


def test_database_unavailable(api: APIClient) -> None:
    with connection.execute_wrapper(Down()):
        answer = api.get(f"{API}/images")
    shape(answer, 503, "database_unavailable")
    assert int(answer["Retry-After"]) > 0


def test_a_connection_that_was_cut_is_made_anew(api: APIClient) -> None:
    """Postgres was restarted between two requests: one refusal at most, then all is well."""
    api.get(f"{API}/images")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (ours,) = cursor.fetchone()
    params = connection.get_connection_params()
    with psycopg.connect(**params, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [ours])
    answer = api.get(f"{API}/images")
    assert answer.status_code == 200 or refusal(answer) == (503, "database_unavailable")
    connection.close_if_unusable_or_obsolete()  # as Django does at the end of a request
    assert api.get(f"{API}/images").status_code == 200


class Broken:
    """A fault of ours, with a secret in it."""

    def __call__(self, execute: Any, sql: str, *rest: Any) -> Any:
        raise ZeroDivisionError("secret of media_api/models.py")


def test_internal(api: APIClient) -> None:
    with connection.execute_wrapper(Broken()):
        answer = api.get(f"{API}/images")
    problem = shape(answer, 500, "internal")
    assert "secret" not in json.dumps(problem)


# --- outside --------------------------------------------------------------------------------------


def test_an_address_that_nothing_answers() -> None:
    shape(Client().get(f"{API}/nowhere"), 404, "not_found")
    shape(Client().post(f"{API}/nowhere/else"), 404, "not_found")


def test_a_host_that_is_not_ours() -> None:
    shape(Client().get(f"{API}/images", HTTP_HOST="evil.example"), 400, "malformed")


def test_a_fault_in_a_middleware(alice: User) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    with connection.execute_wrapper(Down()):
        shape(client.get(f"{API}/images"), 503, "database_unavailable")
    with connection.execute_wrapper(Broken()):
        shape(client.get(f"{API}/images"), 500, "internal")


def raising(error: Exception) -> Callable[[HttpRequest], HttpResponse]:
    def view(request: HttpRequest) -> HttpResponse:
        raise error

    return view


INNER = 'SELECT secret FROM "insides"'
FAULTS: dict[str, tuple[Exception, int, str]] = {
    "fault": (ZeroDivisionError(INNER), 500, "internal"),
    "sql": (ProgrammingError(INNER), 500, "internal"),
    "down": (OperationalError(INNER), 503, "database_unavailable"),
    "cut": (InterfaceError(INNER), 503, "database_unavailable"),
    "store": (exceptions.StorageUnavailable(), 503, "storage_unavailable"),
    "missing": (Http404(INNER), 404, "not_found"),
    "denied": (PermissionDenied(INNER), 403, "forbidden"),
    "suspicious": (SuspiciousOperation(INNER), 400, "malformed"),
    "much": (RequestDataTooBig(INNER), 413, "too_large"),
    "gone": (UnreadablePostError(INNER), 400, "malformed"),
    "form": (MultiPartParserError(INNER), 400, "malformed"),
}
urlpatterns = [
    *(path(f"api/v1/{name}", raising(error)) for name, (error, _, _) in FAULTS.items()),
    *urls.urlpatterns,
]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("name", FAULTS)
def test_whatever_a_view_outside_the_framework_raises(name: str) -> None:
    answer = Client(raise_request_exception=False).get(f"{API}/{name}")
    _, status, code = FAULTS[name]
    problem = shape(answer, status, code)
    assert "secret" not in json.dumps(problem)
    assert ("Retry-After" in answer) == (status == 503)


def test_without_a_database(api: APIClient, alice: User) -> None:
    """Nobody answers where it should be, for a program, a browser and who is not known."""
    browser = Client(raise_request_exception=False)
    browser.force_login(alice)
    host = connection.settings_dict["HOST"]
    connection.close()
    connection.settings_dict["HOST"] = "/nowhere"
    try:
        for client in api, browser:
            for address in "images", "uploads", "account", f"images/{NOWHERE}", "keys":
                answer = client.get(f"{API}/{address}")
                shape(answer, 503, "database_unavailable")
                assert int(answer["Retry-After"]) > 0
        shape(Client().get(f"{API}/images"), 401, "unauthenticated")
        shape(browser.get(f"{API}/nowhere"), 404, "not_found")
    finally:
        connection.settings_dict["HOST"] = host
    assert browser.get(f"{API}/images").status_code == 200


def test_a_page_that_is_not_there_is_a_page() -> None:
    answer = Client().get("/nowhere/")
    assert answer.status_code == 404
    assert "json" not in answer["Content-Type"]


# --- throttles are for later; their refusal is known already --------------------------------------


def test_rate_limited_says_how_long() -> None:
    assert exceptions.RateLimited().retry_after
    assert type(refusal_for(drf.Throttled())) is exceptions.RateLimited
