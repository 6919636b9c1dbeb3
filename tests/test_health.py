"""What machines ask: alive, ready, how it is doing, and what the API is."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import InterfaceError, OperationalError, connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework.test import APIClient

from media_api.models import Image
from media_api.schema import description
from media_api.storage import EPOCH_KEY, ImageStorage
from tests import pictures
from tests.conftest import store_down
from tests.sending import API, announce, send_directly

Keep = Callable[..., Image]


# --- alive ----------------------------------------------------------------------------------------


def test_alive_asks_nobody(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with store_down(), django_assert_num_queries(0):
        answer = client.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


# --- ready ----------------------------------------------------------------------------------------


def test_ready(client: Client, storage: ImageStorage) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "database": "ok", "bucket": "ok"}


def test_ready_without_the_bucket(client: Client) -> None:
    with store_down():
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["bucket"]) == (200, "down")


def test_ready_with_a_bucket_that_nobody_claimed(client: Client, storage: ImageStorage) -> None:
    storage.remove([EPOCH_KEY])
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["bucket"]) == (200, "not prepared")


@pytest.mark.parametrize("fault", [OperationalError, InterfaceError])
def test_not_ready_without_the_database(client: Client, fault: type[Exception]) -> None:
    def down(*_: Any) -> None:
        raise fault("insides")

    with connection.execute_wrapper(down):
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "down", "database": "down"})


def test_where_no_database_answers(client: Client) -> None:
    client.raise_request_exception = False
    host = connection.settings_dict["HOST"]
    connection.close()
    connection.settings_dict["HOST"] = "/nowhere"
    try:
        statuses = {
            name: client.get(f"/{name}").status_code for name in ("livez", "readyz", "metrics")
        }
    finally:
        connection.settings_dict["HOST"] = host
    assert statuses == {"livez": 200, "readyz": 503, "metrics": 503}
    assert client.get("/readyz").status_code == 200


def test_not_ready_without_a_migration(client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_migrations SET app = 'gone' WHERE app = 'media_api'")
        try:
            answer = client.get("/readyz")
        finally:
            cursor.execute("UPDATE django_migrations SET app = 'media_api' WHERE app = 'gone'")
    assert (answer.status_code, answer.json()["database"]) == (503, "not migrated")


def test_probes_need_no_name(client: Client) -> None:
    assert client.get("/livez", HTTP_HOST="127.0.0.1:8000").status_code == 200
    assert client.post("/livez").status_code in (200, 405)


# --- metrics --------------------------------------------------------------------------------------


def test_metrics_count_what_is_there(
    client: Client, api: APIClient, alice: User, keep: Keep
) -> None:
    body = pictures.jpeg()
    keep(alice, body)
    keep(alice, body).delete()
    announce(api, body)
    send_directly(api, body)
    answer = client.get("/metrics")
    assert answer.status_code == 200
    lines = dict(
        line.rsplit(" ", 1) for line in answer.content.decode().splitlines() if line[0] != "#"
    )
    assert float(lines["shoebox_images"]) == 1
    assert float(lines["shoebox_image_bytes"]) == len(body)
    assert float(lines["shoebox_pending_deletions"]) == 1
    assert float(lines['shoebox_uploads{state="announced"}']) == 1
    assert float(lines['shoebox_uploads{state="staged"}']) == 1
    assert float(lines['shoebox_jobs{status="todo"}']) == 1


def test_metrics_are_for_whoever_knows_the_token(client: Client, settings: Settings) -> None:
    settings.METRICS_OPEN = False
    assert client.get("/metrics", HTTP_AUTHORIZATION="Bearer ").status_code == 404
    settings.METRICS_TOKEN = "secret"
    for given in "", "Bearer", "Bearer other", "secret", "Bearer é":
        assert client.get("/metrics", HTTP_AUTHORIZATION=given).status_code == 404
    assert client.get("/metrics", HTTP_AUTHORIZATION="Bearer secret").status_code == 200


# --- the description of the API -------------------------------------------------------------------

CONTRACT = {
    "/images": "get post",
    "/images/trash": "get",
    "/images/delete": "post",
    "/images/restore": "post",
    "/images/tags": "post",
    "/images/links": "post",
    "/images/{image_id}": "get patch delete",
    "/images/{image_id}/restore": "post",
    "/images/{image_id}/content": "get",
    "/uploads": "get post",
    "/uploads/{upload_id}": "get delete",
    "/uploads/{upload_id}/parts": "post",
    "/uploads/{upload_id}/complete": "post",
    "/account": "get",
    "/keys": "get post",
    "/keys/{key_id}": "delete",
}


@pytest.fixture
def schema(client: Client) -> dict[str, Any]:
    answer = client.get(f"{API}/openapi.json")
    assert answer.status_code == 200
    described: dict[str, Any] = json.loads(answer.content)
    return described


def test_the_description_has_what_the_contract_has(schema: dict[str, Any]) -> None:
    described = {
        path.removeprefix(API): " ".join(methods) for path, methods in schema["paths"].items()
    }
    assert described == CONTRACT


def test_whoever_asks_for_the_description_has_it_made_once(client: Client, alice: User) -> None:
    description.cache_clear()
    for language in "en", "de", "fr":
        client.get(f"{API}/openapi.json", HTTP_ACCEPT_LANGUAGE=language)
        client.force_login(alice)
    assert description.cache_info().misses == 1


def test_the_description_is_made_without_a_warning() -> None:
    call_command("spectacular", "--fail-on-warn", "--validate", stdout=StringIO())


def test_each_operation_has_a_name_of_its_own(schema: dict[str, Any]) -> None:
    operations = [
        operation for methods in schema["paths"].values() for operation in methods.values()
    ]
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def test_an_image_is_as_described(
    schema: dict[str, Any], api: APIClient, alice: User, keep: Keep
) -> None:
    image = api.get(f"{API}/images/{keep(alice).id}").json()
    described = schema["components"]["schemas"]
    assert image.keys() == described["ImageDetail"]["properties"].keys()
    assert set(image) == set(described["ImageDetail"]["required"])
    assert image["renditions"][0].keys() == described["Rendition"]["properties"].keys()


def test_the_search_is_described(schema: dict[str, Any]) -> None:
    parameters = {row["name"]: row for row in schema["paths"][f"{API}/images"]["get"]["parameters"]}
    assert set(parameters) == {"limit", "cursor", "order", "q", "type", "tag", "sha256"}
    assert parameters["limit"]["schema"]["maximum"] == 200
    assert parameters["order"]["schema"]["default"] == "-date"
