"""Who is there: behind a proxy of ours the client that it names, else whoever is connected."""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

Address = IPv4Address | IPv6Address

HOPS = "HTTP_X_FORWARDED_FOR"
CLAIMS = re.compile(r"HTTP_(X_FORWARDED_\w+|FORWARDED|X_REAL_IP)")
WITH_PORT = re.compile(r"\[([^]]+)\](?::\d+)?|([^:]+):\d+")


class ProxyMiddleware:
    """Stands first: no log, no limit and no view sees what a stranger says of himself.

    Of a proxy only the address is believed. The scheme is that of PUBLIC_URL, whoever asks: no other is served.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        facts = request.META
        facts["REMOTE_ADDR"] = client_address(facts.get("REMOTE_ADDR", ""), facts.get(HOPS, ""))
        facts["wsgi.url_scheme"] = urlsplit(settings.PUBLIC_URL).scheme
        for name in list(filter(CLAIMS.fullmatch, facts)):
            del facts[name]
        return self.get_response(request)


def client_address(peer: str, hops: str) -> str:
    """The nearest address that is not of TRUSTED_PROXIES, `peer` being the nearest of all and `hops` the
    X-Forwarded-For. What is no address was not written by a proxy of ours, so the one before it counts."""
    nearest = address(peer)
    for hop in reversed(hops.split(",")):
        before = address(hop)
        if nearest is None or before is None or not is_trusted(nearest):
            break
        nearest = before
    return str(nearest or peer)


def address(text: str) -> Address | None:
    """An address that may have a port; one of IPv4 however it is written."""
    text = text.strip()
    if match := WITH_PORT.fullmatch(text):
        text = match[1] or match[2]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def is_trusted(proxy: Address) -> bool:
    return any(proxy in network for network in settings.TRUSTED_PROXIES)
