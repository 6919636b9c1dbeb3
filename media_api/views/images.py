"""`/api/v1/images`: take one, list them, and what is done with one."""

import uuid

from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.utils.http import parse_etags
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from media_api import idempotency, images, uploads
from media_api.exceptions import PreconditionFailed
from media_api.filters import ImageFilter, ImageFilterBackend, image_orders
from media_api.links import redirect_to_content
from media_api.models import Image, ImageQuerySet
from media_api.pagination import CursorPages, Orders, orders
from media_api.parsers import AnyBytesParser, RawImageParser, require_length
from media_api.quotas import require_room
from media_api.serializers import (
    FileSerializer,
    ImageDetailSerializer,
    ImageSerializer,
    LabelsSerializer,
    UploadSerializer,
)
from media_api.uploads import Announcement

from .answers import (
    IDEMPOTENCY_KEY,
    WAIT,
    answer_image,
    answer_upload,
    caller,
    etag,
    flag,
    idempotency_key,
    own_image,
    seconds_to_wait,
    validated,
)


class ImagesView(ListAPIView[Image]):
    """The caller's images; and the door for new ones."""

    queryset = Image.objects.none()
    serializer_class = ImageSerializer
    pagination_class = CursorPages
    filter_backends = [ImageFilterBackend]
    filterset_class = ImageFilter
    parser_classes = [MultiPartParser, RawImageParser, AnyBytesParser]
    counted_as = {"GET": "list", "POST": "announce"}

    def get_queryset(self) -> ImageQuerySet:
        return Image.objects.of(caller(self.request)).present().as_listed()

    def orders(self, parameters: QueryDict) -> Orders:
        return image_orders(parameters, caller(self.request))

    @extend_schema(
        summary="Send an image",
        request={"multipart/form-data": FileSerializer, "image/*": bytes},
        parameters=[WAIT, IDEMPOTENCY_KEY],
        responses={201: ImageDetailSerializer, 202: UploadSerializer},
    )
    def post(self, request: Request) -> Response:
        seconds_to_wait(request)
        key, length = idempotency_key(request), require_length(request)
        if not (key and idempotency.is_known(key)):  # a repeat adds nothing
            require_room(caller(request), more=length)
        sent = validated(FileSerializer(data=request.data)).validated_data
        file = sent["file"]
        announcement = Announcement(
            name=sent.get("name") or file.name,
            size=file.size,
            content_type=file.content_type or "application/octet-stream",
            tags=sent.get("tags", ()),
        )
        upload = uploads.receive(caller(request), file, announcement, key=key)
        return answer_upload(request, upload)


class TrashView(ListAPIView[Image]):
    """What lies in the trash. It is deleted for good 30 days after it was put there."""

    queryset = Image.objects.none()
    serializer_class = ImageSerializer
    pagination_class = CursorPages
    filter_backends = [ImageFilterBackend]
    filterset_class = ImageFilter
    counted_as = {"GET": "list"}

    def get_queryset(self) -> ImageQuerySet:
        return Image.objects.of(caller(self.request)).trashed().as_listed()

    def orders(self, parameters: QueryDict) -> Orders:
        return orders("-date", "date")


class ImageView(APIView):
    """One image: read it, change its labels, put it into the trash or delete it."""

    @extend_schema(summary="An image", responses=ImageDetailSerializer)
    def get(self, request: Request, image_id: uuid.UUID) -> HttpResponse:
        if known := etag_that_is_known(request, image_id):
            return HttpResponse(status=304, headers={"ETag": known})
        return answer_image(own_image(request, image_id))

    @extend_schema(
        summary="Change name or tags", request=LabelsSerializer, responses=ImageDetailSerializer
    )
    def patch(self, request: Request, image_id: uuid.UUID) -> Response:
        labels = validated(LabelsSerializer(data=request.data)).validated_data
        image = own_image(request, image_id)
        images.change(image, version=expected_version(request, image), **labels)
        return answer_image(image)

    @extend_schema(
        summary="Put into the trash, or delete for good",
        parameters=[OpenApiParameter("permanent", bool)],
        responses={204: None},
    )
    def delete(self, request: Request, image_id: uuid.UUID) -> Response:
        one = Image.objects.of(caller(request)).filter(id=own_image(request, image_id).id)
        if flag(request, "permanent"):
            images.delete(one)
        else:
            images.trash(one)
        return Response(status=204)


def etag_that_is_known(request: Request, image_id: uuid.UUID) -> str | None:
    """The ETag of the image, if `If-None-Match` has it; weakly, since proxies that compress weaken ETags."""
    tags = parse_etags(request.headers.get("If-None-Match", ""))
    if not tags:
        return None
    version = Image.objects.version_of(image_id, caller(request))
    if version is None:
        return None
    present = etag(image_id, version)
    is_known = not {"*", present}.isdisjoint(tag.removeprefix("W/") for tag in tags)
    return present if is_known else None


def expected_version(request: Request, image: Image) -> int | None:
    """The version that `If-Match` asks for; the link window behind the point does not matter."""
    condition = request.headers.get("If-Match", "*").strip()
    if condition == "*":
        return None
    versions = [
        tag.removeprefix("W/").strip('"').partition(".")[0] for tag in parse_etags(condition)
    ]
    if str(image.version) not in versions:
        raise PreconditionFailed
    return image.version


class RestoreView(APIView):
    """Out of the trash."""

    @extend_schema(
        summary="Restore",
        operation_id="images_restore_one",
        request=None,
        responses=ImageDetailSerializer,
    )
    def post(self, request: Request, image_id: uuid.UUID) -> Response:
        images.restore(Image.objects.of(caller(request)).filter(id=image_id))
        return answer_image(own_image(request, image_id))


class ContentView(APIView):
    """The way to the bytes: a redirect to a link that shows or saves them.

    The original, or with `side` the rendition that shows it best. With `stripped` what it leads to carries no metadata.
    """

    counted_as = {"GET": "links"}

    @extend_schema(
        summary="Show or save",
        parameters=[
            OpenApiParameter("side", int),
            OpenApiParameter("stripped", bool),
            OpenApiParameter("download", bool),
        ],
        responses={302: None},
    )
    def get(self, request: Request, image_id: uuid.UUID) -> HttpResponseRedirect:
        image = own_image(request, image_id)
        return redirect_to_content(
            image,
            side=_side(request.query_params),
            stripped=flag(request, "stripped"),
            download=flag(request, "download"),
        )


def _side(parameters: QueryDict) -> int | None:
    text = parameters.get("side") or "original"
    if text == "original":
        return None
    if not (text.isascii() and text.isdigit() and int(text[:6]) > 0):
        raise ValidationError({"side": "Pixels of the longest side, or `original`."})
    return int(text[:6])
