"""What every answer says to browsers: pages, JSON, errors, the admin, static files.

The rest of it (HSTS, nosniff, Referrer-Policy, Cross-Origin-Opener-Policy) are settings of Django.
No Cross-Origin-Embedder-Policy: stores do not send the header that it asks of pictures.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

UNUSED = "accelerometer camera display-capture geolocation gyroscope magnetometer microphone midi payment usb"
HEADERS = {
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": settings.CONTENT_SECURITY_POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in UNUSED.split()),
}


class HeadersMiddleware:
    """A view that knows better says so itself."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response
