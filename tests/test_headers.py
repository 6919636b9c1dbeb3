"""What every answer says to browsers, whoever asks for whatever; the cookies."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from media_api.models import SignInLink
from media_api.storage import ImageStorage
from web.views import gallery

EXPECTED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
ADDRESSES = {
    "a page": ("/", 200),
    "a page to sign in": ("/login/", 302),
    "a page that is not there": ("/nothing", 404),
    "a page that takes no GET": ("/logout/", 405),
    "a list": ("/api/v1/images", 200),
    "a problem": ("/api/v1/images/01990000-0000-7000-8000-000000000000", 404),
    "a list that cannot be": ("/api/v1/images?order=colour", 422),
    "the description of the API": ("/api/v1/openapi.json", 200),
    "the page of the API": ("/api/docs/", 200),
    "the admin": ("/admin/", 200),
    "a list of the admin": ("/admin/media_api/image/", 200),
    "a style sheet": ("/static/web/tokens.css", 200),
    "a style sheet that is not there": ("/static/web/nothing.css", 404),
    "a probe": ("/livez", 200),
    "another host": ("//evil.example/", 400),
}


def policy(answer: Any) -> dict[str, list[str]]:
    """Sources of each directive of the Content-Security-Policy."""
    lines = (line.split() for line in answer["Content-Security-Policy"].split(";"))
    return {line[0]: line[1:] for line in lines}


def check(answer: Any) -> None:
    for header, value in EXPECTED.items():
        assert answer[header] == value
    assert "camera=()" in answer["Permissions-Policy"]
    assert answer["Cache-Control"]
    sources = policy(answer)
    assert sources["default-src"] == ["'self'"]
    assert sources["connect-src"] == ["'self'", settings.S3_PUBLIC_ENDPOINT_URL]
    assert sources["img-src"] == ["'self'", "data:", "blob:", settings.S3_PUBLIC_ENDPOINT_URL]
    assert sources["frame-ancestors"] == sources["object-src"] == sources["base-uri"] == ["'none'"]
    assert sources["form-action"] == ["'self'"]
    everything = {source for found in sources.values() for source in found}
    assert everything.isdisjoint({"'unsafe-inline'", "'unsafe-eval'", "*", "http:", "https:"})


@pytest.fixture
def staff(alice: User, storage: ImageStorage) -> Client:
    alice.is_staff = alice.is_superuser = True
    alice.save()
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    return client


@pytest.mark.parametrize("name", ADDRESSES)
def test_every_answer_has_them(staff: Client, name: str) -> None:
    address, status = ADDRESSES[name]
    host = "evil.example" if address.startswith("//") else "localhost"
    answer = staff.get(address.removeprefix("//evil.example"), HTTP_HOST=host)
    assert answer.status_code == status
    check(answer)
    answer.close()


def test_a_fault_of_ours_has_them(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(gallery, "narrowed")
    answer = staff.get("/")
    assert answer.status_code == 500
    assert "narrowed" not in answer.content.decode()
    check(answer)


def test_what_a_form_refuses_has_them(staff: Client) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies = staff.cookies
    answer = client.post("/keys/", {"scopes": "read"})
    assert answer.status_code == 403
    check(answer)


def test_a_server_needs_no_variable_but_those_of_the_settings() -> None:
    environment = {n: v for n, v in os.environ.items() if n != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-c", "import project.wsgi; print(project.wsgi.application)"]
    assert "function" in subprocess.check_output(command, env=environment, text=True)


# --- under https ----------------------------------------------------------------------------------

# The settings are made when a process starts, so this is one of its own, on the database of this test.
BEHIND_TLS = """
import json, sys, django
django.setup()
from django.conf import settings
from django.test import Client
settings.ALLOWED_HOSTS.append("testserver")
client = Client()
page = client.get("/login/", secure=True)
client.post(f"/login/{sys.argv[1]}/", secure=True)
print(json.dumps({
    "hsts": page.headers.get("Strict-Transport-Security"),
    "cookies": {name: {**cookie} for name, cookie in client.cookies.items()},
    "metrics": client.get("/metrics", secure=True).status_code,
    "gallery": client.get("/", secure=True).status_code,
}))
"""


def signed_in(alice: User, public_url: str) -> dict[str, Any]:
    """What a browser is told that signs in where the pages have this address."""
    name = connection.settings_dict["NAME"]
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "PUBLIC_URL": public_url,
        "DATABASE_URL": os.environ["DATABASE_URL"].replace("/postgres?", f"/{name}?"),
    }
    done = subprocess.run(
        [sys.executable, "-c", BEHIND_TLS, SignInLink.objects.mint(alice)],
        env=environment,
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_under_https_cookies_belong_to_this_host_alone(alice: User) -> None:
    told = signed_in(alice, "https://pictures.example.org")
    assert told["gallery"] == 200
    assert told["metrics"] == 404  # open on loopback, where a proxy would show them to all
    assert told["hsts"].startswith("max-age=31536000")
    assert set(told["cookies"]) == {"__Host-sessionid", "__Host-csrftoken"}
    for cookie in told["cookies"].values():  # RFC 6265bis, 4.1.3.2, else browsers drop it
        assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")
        assert cookie["samesite"] == "Lax"
    assert told["cookies"]["__Host-sessionid"]["httponly"]


def test_without_https_there_is_nothing_to_promise(alice: User) -> None:
    told = signed_in(alice, "http://localhost:8000")
    assert told["gallery"] == 200
    assert told["metrics"] == 200
    assert told["hsts"] is None
    assert set(told["cookies"]) == {"sessionid", "csrftoken"}
    assert told["cookies"]["sessionid"]["httponly"]
