"""Who is there, and where they are led: nothing that a stranger writes into a header is believed."""

import json
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from rest_framework.test import APIClient

from media_api.models import ApiKey, SignInLink, Throttle
from project.proxies import client_address
from project.settings import network
from tests.conftest import Serve, client_of, visitor
from tests.sending import API, refusal
from tests.services import HOST

PROXY, CLIENT, LIAR = "10.0.0.1", "198.51.100.7", "203.0.113.66"


def trusting(*proxies: str) -> Any:
    return override_settings(TRUSTED_PROXIES=[ip_network(proxy) for proxy in proxies])


# --- whose address it is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "hops", "client"),
    [
        (PROXY, CLIENT, CLIENT),
        (PROXY, f"{LIAR}, {CLIENT}", CLIENT),  # what the client itself has sent
        (PROXY, f"{LIAR},{CLIENT},10.0.0.2", CLIENT),  # two proxies of ours
        (PROXY, f"{LIAR}, 10.0.0.9, {CLIENT}", CLIENT),
        (PROXY, "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # a client of the own network
        (PROXY, f" {CLIENT} ", CLIENT),
        (PROXY, f"{CLIENT}:4711", CLIENT),
        (PROXY, "2001:db8::7", "2001:db8::7"),
        (PROXY, "[2001:db8::7]", "2001:db8::7"),
        (PROXY, "[2001:db8::7]:4711", "2001:db8::7"),
        (PROXY, f"::ffff:{CLIENT}", CLIENT),
        (f"::ffff:{PROXY}", CLIENT, CLIENT),
        ("fd00::1", CLIENT, CLIENT),
        (PROXY, "", PROXY),
        (PROXY, "unknown", PROXY),
        (PROXY, f"{LIAR}, unknown", PROXY),
        (PROXY, f"{CLIENT}, ", PROXY),
        (PROXY, ", , ,", PROXY),
        (PROXY, "1.2.3", PROXY),
        (PROXY, "1.2.3.4.5", PROXY),
        (PROXY, "999.1.1.1", PROXY),
        (PROXY, "[::1", PROXY),
        (PROXY, ":80", PROXY),
        (PROXY, "\0", PROXY),
        (PROXY, "²", PROXY),
        (PROXY, "x" * 10_000, PROXY),
        (PROXY, "[" * 10_000, PROXY),
        (PROXY, "1," * 5_000, PROXY),
        (PROXY, f"{LIAR}," * 5_000 + CLIENT, CLIENT),
        (PROXY, "::1%" + "x" * 10_000, "::1"),
        (CLIENT, LIAR, CLIENT),  # no proxy of ours
        (CLIENT, PROXY, CLIENT),
        ("127.0.0.1", LIAR, "127.0.0.1"),
        ("::1", LIAR, "::1"),
        ("", LIAR, ""),
        ("unix:", LIAR, "unix:"),
    ],
)
def test_the_nearest_address_that_is_no_proxy_of_ours(peer: str, hops: str, client: str) -> None:
    with trusting("10.0.0.0/24", "fd00::/8"):
        assert client_address(peer, hops) == client


CLAIMS = {
    "HTTP_X_FORWARDED_FOR": LIAR,
    "HTTP_X_FORWARDED_HOST": "evil.example",
    "HTTP_X_FORWARDED_PORT": "666",
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_PREFIX": "/evil",
    "HTTP_FORWARDED": f"for={LIAR};host=evil.example;proto=https",
    "HTTP_X_REAL_IP": LIAR,
}


@pytest.mark.parametrize(("peer", "seen"), [(CLIENT, CLIENT), (PROXY, LIAR)])
def test_of_what_is_claimed_only_the_address_is_believed(alice: User, peer: str, seen: str) -> None:
    _, key = ApiKey.objects.mint(alice, scopes=["read"])
    with trusting(PROXY):
        answer: Any = visitor().get(
            f"{API}/images",
            REMOTE_ADDR=peer,
            HTTP_AUTHORIZATION=f"Bearer {key}",
            **CLAIMS,  # type: ignore[arg-type]
        )
    request = answer.wsgi_request
    assert request.META["REMOTE_ADDR"] == seen
    assert request.build_absolute_uri("/x") == "http://testserver/x"
    assert CLAIMS.keys().isdisjoint(request.META)
    assert answer["Link"] == f'<http://testserver{API}/images>; rel="first"'
    assert Throttle.objects.filter(key=f"list address {seen}").exists()


def test_a_stranger_is_not_written_down_under_another_address(
    alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    claims = {**CLAIMS, "HTTP_CLIENT_IP": LIAR, "HTTP_X_CLUSTER_CLIENT_IP": LIAR}
    visitor().get(f"{API}/images", REMOTE_ADDR=CLIENT, **claims)  # type: ignore[arg-type]
    (line,) = [record for record in caplog.messages if "request_finished" in record]
    assert CLIENT in line
    assert LIAR not in line


def test_a_proxy_is_an_address_or_a_network() -> None:
    assert network("10.0.0.1") == ip_network("10.0.0.1/32")
    for text in "nginx", "10.0.0.1/8", "*", "10.0.0.1:80":
        with pytest.raises(ImproperlyConfigured, match="TRUSTED_PROXIES"):
            network(text)


# --- the real server ------------------------------------------------------------------------------

PUBLIC = "https://pictures.example"


@pytest.mark.parametrize("trusted", ["", "127.0.0.0/8"])
def test_behind_a_proxy_that_ends_tls(
    serve: Serve, tmp_path: Path, alice: User, trusted: str
) -> None:
    """Everything works as under https, whether the proxy is known or not; only whose address it is depends on it."""
    address = serve(PUBLIC_URL=PUBLIC, TRUSTED_PROXIES=trusted)
    through = [("Host", "pictures.example"), ("X-Forwarded-Proto", "http")]
    hops = [("X-Forwarded-For", LIAR), ("X-Forwarded-For", f"{LIAR}, {CLIENT}")]  # in two lines

    door = f"{address}/login/{SignInLink.objects.mint(alice)}/"

    page = httpx2.get(door, headers=[*through, *hops])
    assert page.headers["Strict-Transport-Security"]
    assert "Secure" in page.headers["Set-Cookie"]
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    cookie = page.headers["Set-Cookie"].partition(";")[0]
    assert token
    form = {"csrfmiddlewaretoken": token[1]}
    told = [*through, *hops, ("Cookie", cookie)]

    def sign_in(**headers: str) -> httpx2.Response:
        return httpx2.post(door, data=form, headers=[*told, *headers.items()])

    for headers in (
        {},
        {"Origin": "http://pictures.example"},
        {"Referer": "https://evil.example/"},
    ):
        assert sign_in(**headers).status_code == 403
    arrived = sign_in(Origin=PUBLIC, Referer=f"{PUBLIC}/")
    assert (arrived.status_code, arrived.headers["Location"]) == (302, "/")
    session = re.search(r"(?:__Host-)?sessionid=\w+", str(arrived.headers))
    assert session
    listed = httpx2.get(f"{address}{API}/images", headers=[*through, *hops, ("Cookie", session[0])])
    assert listed.headers["Link"] == f'<{PUBLIC}{API}/images>; rel="first"'
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    ips = {line["ip"] for line in lines if "/livez" not in line.get("request", "/livez")}
    assert ips == {CLIENT if trusted else HOST}


# --- hosts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil.example:8000",
        "localhost@evil.example",
        "localhost:80@evil.example",
        "127.0.0.1:8000:evil.example",
        "localhost/evil.example",
        "evil.example\\localhost",
        "localhost,evil.example",
        "lo calhost",
        "[::1",
        "\x00",
        "é",
        "",
    ],
)
def test_another_host_is_nobody_here(host: str) -> None:
    client = visitor()
    for claim in {}, {"HTTP_X_FORWARDED_HOST": "localhost"}:
        facts: Any = {"HTTP_HOST": host, **claim}
        assert refusal(client.get(f"{API}/images", **facts)) == (400, "malformed")
        for path in "/", "/login/", "/admin/", "/nowhere":
            answer = client.get(path, **facts)
            assert answer.status_code == 400, path
            assert "evil" not in answer.content.decode()
            assert "Location" not in answer


# --- where people are led -------------------------------------------------------------------------

ELSEWHERE = [
    "//evil.example",
    "///evil.example",
    "////evil.example/x",
    "https://evil.example",
    "HTTPS://evil.example/",
    "http:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/\n/evil.example",
    "\x01//evil.example",
    "https://testserver@evil.example/",
    "https://testserver\\@evil.example/",
    "https://evil.example\\@testserver/",
    "//testserver.evil.example/",
    "javascript:alert(1)",
    "java\nscript:alert(1)",
    " javascript:alert(1)",
    "data:text/html,x",
    "%2F%2Fevil.example",
    "/%2Fevil.example",
    "/%5Cevil.example",
    "%5C%5Cevil.example",
    "//evil%E3%80%82example",
    "http://[::1/x",
]


def destination(location: str, *, at: str = "http://testserver/login/") -> tuple[str, str]:
    """Scheme and host that a browser goes to: it takes \\ for /, and leaves white space out (URL Standard, 4.4)."""
    cleaned = re.sub(r"[\t\r\n]", "", location).lstrip("".join(map(chr, range(33))))
    parts = urlsplit(urljoin(at, cleaned.replace("\\", "/")))
    return parts.scheme, parts.netloc


@pytest.mark.parametrize("following", ELSEWHERE)
def test_nobody_is_led_elsewhere(alice: User, following: str) -> None:
    password = {"username": "alice", "password": "wonderland-7"}
    signed_in = visitor()
    signed_in.force_login(alice)
    token = SignInLink.objects.mint(alice)
    for answer in (
        visitor().post("/login/", {**password, "next": following}),
        visitor().post("/login/", password, query_params={"next": following}),
        visitor().post(f"/login/{token}/", {"next": following}),
        signed_in.get("/login/", {"next": following}),
        visitor().get("/admin/login/", {"next": following}),
        signed_in.post("/logout/", {"next": following}),
    ):
        assert answer.status_code == 302
        assert destination(answer["Location"]) == ("http", "testserver"), answer["Location"]


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "//evil.example/%2f..",
        "//evil.example/%2e%2e/",
        "///evil.example/upload",
        "/\\evil.example/upload",
        "/%5cevil.example",
        "//evil.example/\r\nSet-Cookie: x=y",
        "/upload",
        "//evil.example/upload",
        "/i//evil.example",
    ],
)
def test_an_address_leads_to_our_own_host(alice: User, path: str) -> None:
    """From 127.0.0.1 to localhost, to the same address with a slash, to the sign-in: all by the path that was asked."""
    for host in "127.0.0.1:8000", "localhost:8000":
        for client in visitor(), visitor():
            answer = client.get("/", PATH_INFO=path, HTTP_HOST=host)
            assert "\n" not in answer.get("Location", "")
            if answer.status_code in (301, 302):
                there = destination(answer["Location"], at=f"http://{host}{path}")
                assert there == ("http", "localhost:8000"), answer["Location"]
            else:
                assert answer.status_code == 404
            client.force_login(alice)


def test_a_link_of_the_api_is_of_our_own_host(alice: User) -> None:
    api: APIClient = client_of(alice)
    facts: Any = {"HTTP_X_FORWARDED_HOST": "evil.example", "PATH_INFO": f"{API}/images"}
    assert "evil" not in str(api.get("//evil.example", **facts).headers)
