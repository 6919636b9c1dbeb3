"""What every page view is given: a request with an owner, and what is that owner's."""

import uuid

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.shortcuts import get_object_or_404

from media_api.models import Image, ImageQuerySet


class SignedIn(HttpRequest):
    """A request that PagesMiddleware let through."""

    user: User


def own_images(request: SignedIn) -> ImageQuerySet:
    return Image.objects.of(request.user)


def own_image(request: SignedIn, image_id: uuid.UUID) -> Image:
    return get_object_or_404(own_images(request), id=image_id)
