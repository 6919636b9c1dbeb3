"""What holds for every page, before its view and after it."""

from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from media_api.exceptions import (
    Internal,
    LengthRequired,
    MethodNotAllowed,
    QuotaExceeded,
    Refusal,
    TooLarge,
)
from media_api.problems import log_fault, refusal_for
from media_api.quotas import require_room
from web.views.errors import error_page
from web.views.uploads import MAX_FILES

MACHINES = ("/api/", "/static/", "/livez", "/readyz", "/metrics")
FORM_SIZE = settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0


class PagesMiddleware:
    """Stands before CsrfViewMiddleware, which reads the body: pages that are private take none of who is unknown, and
    no page, the admin and what machines ask included, takes one that is too long."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if elsewhere := to_localhost(request):
            return elsewhere
        response = self.get_response(request)
        if not is_page(request):
            return response
        if response.status_code == 405:
            allowed = response.headers.get("Allow", "")
            response = error_page(request, MethodNotAllowed())
            response["Allow"] = allowed
        return response

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        if is_api(request):
            return None
        is_private = is_page(request) and getattr(view, "login_required", True)
        if is_private and not request.user.is_authenticated:
            return sign_in_first(request)
        refusal = refusal_of_body(request) or refusal_on_the_way(request)
        return error_page(request, refusal) if refusal else None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        """A refusal is an answer, not a fault. Faults of ours go on to Django, which reports them."""
        refusal = refusal_for(error)
        if not is_page(request) or isinstance(refusal, Internal):
            return None
        log_fault(refusal, error)
        return error_page(request, refusal)


def is_page(request: HttpRequest) -> bool:
    return request.resolver_match is not None and request.resolver_match.app_name == "web"


def is_api(request: HttpRequest) -> bool:
    """It looks at lengths itself, when it knows who is asking."""
    return request.resolver_match is not None and request.resolver_match.app_name == "api"


def to_localhost(request: HttpRequest) -> HttpResponseRedirect | None:
    """Pages live on `localhost` and the bucket on 127.0.0.1, since cookies ignore ports. The API answers on both."""
    if request.method not in ("GET", "HEAD") or request.path.startswith(MACHINES):
        return None
    name, _, port = request.get_host().partition(":")
    if name != "127.0.0.1" or urlsplit(settings.PUBLIC_URL).hostname != "localhost":
        return None
    host = f"localhost:{port}" if port else "localhost"
    return HttpResponseRedirect(f"{request.scheme}://{host}{request.get_full_path()}")


def sign_in_first(request: HttpRequest) -> HttpResponseRedirect:
    if request.method in ("GET", "HEAD"):
        return redirect_to_login(request.get_full_path())
    return redirect(settings.LOGIN_URL)


def refusal_of_body(request: HttpRequest) -> Refusal | None:
    if request.method != "POST":
        return None
    length = request.META.get("CONTENT_LENGTH") or ""
    if not length.isdigit():
        return LengthRequired()
    match = request.resolver_match
    takes_files = match is not None and match.url_name == "upload"
    longest = MAX_FILES * settings.MAX_UPLOAD_SIZE if takes_files else 0
    if int(length) > longest + FORM_SIZE:
        return TooLarge()
    return refusal_of_files(request, int(length)) if takes_files else None


def refusal_of_files(request: HttpRequest, length: int) -> Refusal | None:
    """A form for which there is certainly no room. Where there may be, each of its files is asked about by itself."""
    try:
        require_room(cast(User, request.user), more=max(1, length - FORM_SIZE))
    except QuotaExceeded as refusal:
        return refusal
    return None


def refusal_on_the_way(request: HttpRequest) -> Refusal | None:
    """Of a body that comes too slowly. Met here, as in CsrfViewMiddleware it would be logged as a fault of ours."""
    try:
        _ = request.POST
    except Refusal as refusal:
        return refusal
    return None
