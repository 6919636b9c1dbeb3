"""What these views share: finding what is the caller's own, and answering with what became of an upload."""

import re
import uuid
from typing import Any, TypeVar, cast

from django.conf import settings
from django.contrib.auth.models import User
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from media_api import uploads, verdicts
from media_api.exceptions import Malformed, NotFound
from media_api.models import IdempotencyKey, Image, Upload, image_prefix
from media_api.serializers import ImageDetailSerializer, fields_of
from media_api.storage import image_storage

DEFAULT_WAIT, MAX_WAIT = 10.0, 25.0
WAIT = OpenApiParameter("wait", float, description="Seconds to wait for the verdict, 0 to 25.")

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Any text of yours, new for each upload: 1 to 255 visible ASCII characters, no quotes. "
    "For 24 hours a repeat with the same key makes no second upload, and is told what has become of the first.",
)

S = TypeVar("S", bound=BaseSerializer[Any])


def validated(serializer: S) -> S:
    serializer.is_valid(raise_exception=True)
    return serializer


def caller(request: Request) -> User:
    return cast(User, request.user)  # the permission class lets nobody else in


def flag(request: Request, name: str) -> bool:
    """A switch in the query: `true` or `1` is on, `false` or `0` is off, as if it were not there."""
    text = request.query_params.get(name, "").lower()
    if text not in ("true", "1", "false", "0", ""):
        raise ValidationError({name: "`true` or `false`."})
    return text in ("true", "1")


def seconds_to_wait(request: Request) -> float:
    text = request.query_params.get("wait", str(DEFAULT_WAIT))
    try:
        return min(max(float(text), 0.0), MAX_WAIT)
    except ValueError as error:
        raise ValidationError({"wait": "A number of seconds, 0 to 25."}) from error


def idempotency_key(request: Request) -> IdempotencyKey | None:
    """The key that the client has given this request, bare or as a String of RFC 9651: quotes do not belong to it."""
    header = request.headers.get("Idempotency-Key")
    if header is None:
        return None
    match = re.fullmatch(r'("?)([!#-~]{1,255})\1', header.strip())
    if not match:
        raise Malformed("An Idempotency-Key has 1 to 255 visible ASCII characters, no quotes.")
    return IdempotencyKey(owner=caller(request), path=request.path, key=match[2])


def own_image(request: Request, image_id: uuid.UUID) -> Image:
    image = Image.objects.of(caller(request)).filter(id=image_id).first()
    if image is None:
        raise NotFound
    return image


def own_upload(request: Request, upload_id: uuid.UUID) -> Upload | Image:
    """An upload, or the image that it is by now. Asked in this order, as the one becomes the other meanwhile."""
    found = (
        Upload.objects.of(caller(request)).filter(id=upload_id).first()
        or Image.objects.of(caller(request)).filter(id=upload_id).first()
    )
    if found is None:
        raise NotFound
    return found


def etag(image_id: uuid.UUID, version: int) -> str:
    """The row's version and the moment its links began: both together are what the JSON depends on."""
    return f'"{version}.{image_storage().window_start(image_prefix(image_id))}"'


def answer_image(image: Image, *, status: int = 200) -> Response:
    headers = {"ETag": etag(image.id, image.version)}  # first: it is not to be newer than the links
    response = Response(ImageDetailSerializer(image).data, status=status, headers=headers)
    if status == 201:
        response["Location"] = f"{settings.PUBLIC_URL}/api/v1/images/{image.id}"
    return response


def answer_upload(request: Request, upload: Upload) -> Response:
    """201 with the image when the worker is done within `wait`, 202 with the upload when not, or the refusal."""
    seconds = seconds_to_wait(request)
    verdicts.wait(upload.id, seconds=seconds)
    # Who does not wait is told what was so a moment ago.
    is_known = upload.staged_at and not seconds
    found = upload if is_known else own_upload(request, upload.id)
    if isinstance(found, Image):
        return answer_image(found, status=201)
    if refusal := uploads.refusal_of(found):
        raise refusal
    return Response(fields_of(found), status=202, headers={"Location": address_of(found)})


def address_of(upload: Upload) -> str:
    return f"{settings.PUBLIC_URL}/api/v1/uploads/{upload.id}"
