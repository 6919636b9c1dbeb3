"""The caller's account and API keys."""

from dataclasses import asdict

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from media_api.accounts import account_of
from media_api.exceptions import NotFound
from media_api.models import ApiKey, ApiKeyQuerySet
from media_api.serializers import AccountSerializer, ApiKeySerializer, NewApiKeySerializer
from media_api.uploads import owner_is_there

from .answers import caller, validated


class AccountView(APIView):
    @extend_schema(summary="The account", responses=AccountSerializer)
    def get(self, request: Request) -> Response:
        return Response(asdict(account_of(caller(request))))


class KeysView(ListAPIView[ApiKey]):
    """The caller's API keys. A key has its scopes for life; make another one for others."""

    queryset = ApiKey.objects.none()
    serializer_class = ApiKeySerializer
    pagination_class = None

    def get_queryset(self) -> ApiKeyQuerySet:
        return ApiKey.objects.of(caller(self.request))

    def list(self, request: Request) -> Response:
        return Response({"results": self.get_serializer(self.get_queryset(), many=True).data})

    @extend_schema(
        summary="Make a key", request=ApiKeySerializer, responses={201: NewApiKeySerializer}
    )
    def post(self, request: Request) -> Response:
        wanted = validated(ApiKeySerializer(data=request.data)).validated_data
        if isinstance(request.auth, ApiKey):
            wanted.setdefault("expires_at", request.auth.expires_at)
        require_strength(request, ApiKey(**wanted))
        owner = caller(request)
        with owner_is_there(owner):
            key, text = ApiKey.objects.mint(owner, **wanted)
        return Response({**ApiKeySerializer(key).data, "key": text}, status=201)


class KeyView(APIView):
    @extend_schema(summary="Revoke a key", responses={204: None})
    def delete(self, request: Request, key_id: int) -> Response:
        key = ApiKey.objects.of(caller(request)).filter(id=key_id).first()
        if key is None:
            raise NotFound
        require_strength(request, key)
        key.delete()
        return Response(status=204)


def require_strength(request: Request, key: ApiKey) -> None:
    """A key makes and revokes no stronger one, and none that lives longer. A session may do all."""
    if isinstance(request.auth, ApiKey) and not request.auth.covers(key):
        raise PermissionDenied
