"""What openapi.json cannot find out by itself."""

from functools import cache
from typing import Any

from drf_spectacular.authentication import SessionScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema

from .authentication import ApiKeyAuthentication, BrowserSession


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = ApiKeyAuthentication
    name = "apiKey"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "sbx_<prefix>_<secret>"}


class BrowserSessionScheme(SessionScheme):  # type: ignore[no-untyped-call]
    target_class = BrowserSession  # type: ignore[assignment]


RATE_LIMIT_FIELDS = {
    "RateLimit-Policy": "The limit that this counts against: `q` requests in `w` seconds.",
    "RateLimit": "How it stands with that limit: `r` requests remain, in `t` seconds there is one more.",
}


class Schema(AutoSchema):
    """What is counted (`throttles`) says so in every answer, and may be refused."""

    def get_operation(self, *args: Any) -> dict[str, Any] | None:
        operation: dict[str, Any] | None = super().get_operation(*args)
        if operation and self.method in getattr(self.view, "counted_as", {}):
            answers = operation["responses"]
            answers["429"] = {
                "description": "`rate_limited`: nothing was done.",
                "content": {"application/problem+json": {}},
                "headers": {"Retry-After": header("Seconds.", "integer")},
            }
            for answer in answers.values():
                answer.setdefault("headers", {}).update(
                    (name, header(text)) for name, text in RATE_LIMIT_FIELDS.items()
                )
        return operation


def header(description: str, kind: str = "string") -> dict[str, Any]:
    return {"schema": {"type": kind}, "description": description}


@cache
def description() -> Any:
    return SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]


class Once(SchemaGenerator):
    """Anybody may ask, and it takes a while: it is made once in each process, and is the same for all."""

    def get_schema(self, request: Any = None, public: bool = False) -> Any:
        return description()
