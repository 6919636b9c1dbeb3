"""What is done with many images at once. Each id gets an answer of its own; what is not the caller's is `not_found`."""

from collections.abc import Callable
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from media_api import images
from media_api.exceptions import NotFound, Trashed
from media_api.links import original_link, rendition_link
from media_api.models import Image, ImageQuerySet
from media_api.serializers import (
    IdsSerializer,
    LinksRequestSerializer,
    ResultsSerializer,
    TagChangesSerializer,
)

from .answers import caller, flag, validated

Result = dict[str, Any]


def own_images(request: Request, wanted: IdsSerializer) -> ImageQuerySet:
    ids = [image_id for image_id in wanted.uuids().values() if image_id]
    return Image.objects.of(caller(request)).filter(id__in=ids)


def answer_each(
    wanted: IdsSerializer, found: ImageQuerySet, result: Callable[[Image], Result]
) -> Response:
    """One result for each id, in the order that was asked. `found` is read once, before anything is done."""
    by_id = {image.id: image for image in found}
    results = []
    for text, image_id in wanted.uuids().items():
        image = by_id.get(image_id) if image_id else None
        answer = result(image) if image else refused(NotFound)
        results.append({"id": text, **answer})
    return Response({"results": results})


def refused(refusal: type[NotFound] | type[Trashed]) -> Result:
    return {"status": refusal.status, "code": refusal.code}


class DeleteManyView(APIView):
    @extend_schema(
        summary="Trash or delete many",
        request=IdsSerializer,
        parameters=[OpenApiParameter("permanent", bool)],
        responses=ResultsSerializer,
    )
    def post(self, request: Request) -> Response:
        wanted = validated(IdsSerializer(data=request.data))
        found = own_images(request, wanted)
        answer = answer_each(wanted, found, lambda image: {"status": 204})
        if flag(request, "permanent"):
            images.delete(found.all())
        else:
            images.trash(found.all())
        return answer


class RestoreManyView(APIView):
    @extend_schema(summary="Restore many", request=IdsSerializer, responses=ResultsSerializer)
    def post(self, request: Request) -> Response:
        wanted = validated(IdsSerializer(data=request.data))
        found = own_images(request, wanted)
        answer = answer_each(wanted, found, lambda image: {"status": 200})
        images.restore(found.all())
        return answer


class TagManyView(APIView):
    @extend_schema(
        summary="Add and remove tags of many",
        request=TagChangesSerializer,
        responses=ResultsSerializer,
    )
    def post(self, request: Request) -> Response:
        wanted = validated(TagChangesSerializer(data=request.data))
        found = own_images(request, wanted)
        changes = wanted.validated_data
        answer = answer_each(
            wanted, found, lambda image: refused(Trashed) if image.trashed_at else {"status": 200}
        )
        images.retag(found.all(), add=changes["add"], remove=changes["remove"])
        return answer


class LinkManyView(APIView):
    reads_with_post = True
    counted_as = {"POST": "links"}

    @extend_schema(
        summary="Links of many", request=LinksRequestSerializer, responses=ResultsSerializer
    )
    def post(self, request: Request) -> Response:
        wanted = validated(LinksRequestSerializer(data=request.data))
        side = wanted.validated_data["side"]

        def link(image: Image) -> Result:
            found = original_link(image) if side is None else rendition_link(image, side)
            return {"status": 200, **found._asdict()}

        return answer_each(wanted, own_images(request, wanted), link)
