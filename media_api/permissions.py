from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from .models import ApiKey

if TYPE_CHECKING:
    from rest_framework.views import APIView


class HasScope(BasePermission):
    """Signed in; and an API key has the scope `read` for reading, `write` for the rest. A session may do both.

    A view whose POST only reads says so with `reads_with_post`.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if not request.user.is_authenticated:
            return False
        if not isinstance(request.auth, ApiKey):
            return True
        reads = request.method in SAFE_METHODS or getattr(view, "reads_with_post", False)
        return (ApiKey.Scope.READ if reads else ApiKey.Scope.WRITE) in request.auth.scopes
