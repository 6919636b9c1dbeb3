"""`/api/v1/uploads`: the direct door. Announce, send the bytes to the bucket, complete."""

import uuid
from datetime import datetime
from typing import Any

from django.http import QueryDict
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from media_api import uploads
from media_api.exceptions import AlreadyKept, UploadExpired
from media_api.filters import UploadFilter
from media_api.models import Image, Upload, UploadQuerySet
from media_api.pagination import CursorPages, Orders, orders
from media_api.serializers import (
    AnnouncementSerializer,
    ImageDetailSerializer,
    PartNumbersSerializer,
    PartSerializer,
    UploadDetailSerializer,
    UploadSerializer,
    fields_of,
)

from .answers import (
    IDEMPOTENCY_KEY,
    WAIT,
    address_of,
    answer_image,
    answer_upload,
    caller,
    idempotency_key,
    own_upload,
    seconds_to_wait,
    validated,
)


class UploadsView(ListAPIView[Upload]):
    """The caller's uploads that are not images (yet)."""

    queryset = Upload.objects.none()
    serializer_class = UploadSerializer
    pagination_class = CursorPages
    filter_backends = [DjangoFilterBackend]
    filterset_class = UploadFilter
    counted_as = {"GET": "list", "POST": "announce"}

    def get_queryset(self) -> UploadQuerySet:
        return Upload.objects.of(caller(self.request))

    def orders(self, parameters: QueryDict) -> Orders:
        return orders("-created_at", "created_at")

    @extend_schema(
        summary="Announce an upload",
        request=AnnouncementSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={201: UploadDetailSerializer},
    )
    def post(self, request: Request) -> Response:
        announcement = validated(AnnouncementSerializer(data=request.data)).announcement()
        key = idempotency_key(request)
        upload = uploads.announce(caller(request), announcement, key=key)
        body = repeated(request, upload) if key else new(upload)
        return Response(body, status=201, headers={"Location": address_of(upload)})


def new(upload: Upload) -> dict[str, Any]:
    """The answer to an announcement, a moment after the row was written."""
    return fields_of(upload) | way_in(upload, now=upload.created_at)


def repeated(request: Request, upload: Upload) -> dict[str, Any]:
    """The answer to one that may be a repeat: the bytes may be there by now, or kept."""
    found = own_upload(request, upload.id)
    if isinstance(found, Image):
        return kept(found)
    if found.state == Upload.State.STAGED:
        return fields_of(found)
    return fields_of(found) | way_in(found)


def way_in(upload: Upload, *, now: datetime | None = None) -> dict[str, Any]:
    """Where the bytes are to be sent, and with which headers."""
    if upload.part_size:
        numbers = range(1, upload.part_count + 1)
        return {"parts": uploads.presign_parts(upload, numbers, now=now)}
    return uploads.presign_put(upload, now=now)


class UploadView(APIView):
    """One upload, also after it was kept."""

    @extend_schema(summary="An upload", responses=UploadDetailSerializer)
    def get(self, request: Request, upload_id: uuid.UUID) -> Response:
        upload = own_upload(request, upload_id)
        if isinstance(upload, Image):
            return Response(kept(upload))
        if upload.state == Upload.State.EXPIRED:
            raise UploadExpired
        body = fields_of(upload)
        if upload.state == Upload.State.ANNOUNCED:
            body |= arrived(upload) if upload.part_size else uploads.presign_put(upload)
        return Response(body)

    @extend_schema(summary="Withdraw an upload", responses={204: None})
    def delete(self, request: Request, upload_id: uuid.UUID) -> Response:
        upload = own_upload(request, upload_id)
        if isinstance(upload, Image):
            raise AlreadyKept
        uploads.withdraw(upload)
        return Response(status=204)


def kept(image: Image) -> dict[str, Any]:
    """An upload that is an image by now: told from the image, since nothing else of it is left."""
    return {
        "id": str(image.id),
        "state": "kept",
        "name": image.name,
        "tags": image.tags,
        "size": image.size,
        "content_type": image.content_type,
        "image": ImageDetailSerializer(image).data,
    }


def arrived(upload: Upload) -> dict[str, Any]:
    parts = uploads.arrived_parts(upload)
    return {"parts": [{"number": part.number, "size": part.size} for part in parts]}


class PartsView(APIView):
    """Fresh URLs for parts: this is how an upload resumes."""

    @extend_schema(
        summary="URLs for parts",
        request=PartNumbersSerializer,
        responses={200: PartSerializer(many=True)},
    )
    def post(self, request: Request, upload_id: uuid.UUID) -> Response:
        numbers = validated(PartNumbersSerializer(data=request.data)).validated_data["numbers"]
        upload = own_upload(request, upload_id)
        if isinstance(upload, Image):
            raise AlreadyKept
        uploads.arrived_parts(upload)  # begins anew if the store forgot it
        return Response({"parts": uploads.presign_parts(upload, numbers)})


class CompleteView(APIView):
    """The bytes are there. Safe to repeat."""

    @extend_schema(
        summary="Complete an upload",
        request=None,
        parameters=[WAIT],
        responses={201: ImageDetailSerializer, 200: ImageDetailSerializer, 202: UploadSerializer},
    )
    def post(self, request: Request, upload_id: uuid.UUID) -> Response:
        seconds_to_wait(request)
        upload = own_upload(request, upload_id)
        if isinstance(upload, Image):
            return answer_image(upload)
        uploads.complete(upload)
        return answer_upload(request, upload)
