"""Who is asking: a program by its API key, or a browser by its session (with CSRF)."""

from datetime import timedelta

from django.contrib.auth.models import User
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from rest_framework.authentication import (
    BaseAuthentication,
    SessionAuthentication,
    get_authorization_header,
)
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from .models import ApiKey
from .parsers import require_length

SCHEME = "bearer"
NOTED = timedelta(minutes=1)


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer sbx_<prefix>_<secret>` (RFC 6750)."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        scheme, _, text = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != SCHEME:
            return None
        key = find(text.strip())
        if key is None:
            raise AuthenticationFailed
        note_use(key)
        return key.owner, key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="Shoebox"'


def find(text: str) -> ApiKey | None:
    """The key with this text, if it and its owner may still come in."""
    brand, _, rest = text.partition("_")
    prefix, _, secret = rest.partition("_")
    if brand != "sbx" or not prefix.isalnum() or not secret:
        return None
    key = ApiKey.objects.alive(prefix)
    return key if key and key.matches(secret) else None


def note_use(key: ApiKey) -> None:
    """Written at most once a minute, so that reading costs no write, nor a statement to ask for one."""
    if key.last_used_at and timezone.now() - key.last_used_at < NOTED:
        return
    stale = Q(last_used_at=None) | Q(last_used_at__lt=Now() - NOTED)
    ApiKey.objects.filter(stale, id=key.id).update(last_used_at=Now())


class BrowserSession(SessionAuthentication):
    """Django's session, with CSRF enforced for whatever changes something."""

    def enforce_csrf(self, request: Request) -> None:
        """The check reads a form's body for its token, so the body must not be too long by then."""
        if (request.content_type or "").startswith("multipart/"):
            require_length(request)
        super().enforce_csrf(request)
