"""What openapi.json cannot find out by itself."""

from typing import Any

from drf_spectacular.authentication import SessionScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from .authentication import ApiKeyAuthentication, BrowserSession


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = ApiKeyAuthentication
    name = "apiKey"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "sbx_<prefix>_<secret>"}


class BrowserSessionScheme(SessionScheme):  # type: ignore[no-untyped-call]
    target_class = BrowserSession  # type: ignore[assignment]
