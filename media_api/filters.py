from typing import Any, cast

import django_filters
from django.contrib.auth.models import User
from django.http import QueryDict
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import ValidationError

from .models import KEPT_TYPES, Image, ImageQuerySet, ImageTag, Upload, clean_tag
from .pagination import Orders, orders

CONTENT_TYPES = [kept.removeprefix("image/") for kept in KEPT_TYPES]


class ImageFilter(django_filters.FilterSet):
    """What a list of images may be narrowed to. Several tags: images that have all of them."""

    q = django_filters.CharFilter(method="filter_words", max_length=200)
    type = django_filters.ChoiceFilter(
        method="filter_type", choices=[(name, name) for name in CONTENT_TYPES]
    )
    tag = django_filters.CharFilter(method="filter_tags")
    sha256 = django_filters.CharFilter(max_length=64)

    class Meta:
        model = Image
        fields: list[str] = []

    def __init__(self, data: QueryDict | None = None, *args: Any, **kwargs: Any) -> None:
        if data and "type" in data:
            data = data.copy()
            data["type"] = str(data["type"]).removeprefix("image/")
        super().__init__(data, *args, **kwargs)

    def filter_words(self, images: ImageQuerySet, _name: str, text: str) -> ImageQuerySet:
        return images.matching(text)

    def filter_type(self, images: ImageQuerySet, _name: str, kind: str) -> ImageQuerySet:
        return images.filter(content_type=f"image/{kind}")

    def filter_tags(self, images: ImageQuerySet, _name: str, _tag: str) -> ImageQuerySet:
        return images.filter(tags__contains=tags_of(cast(QueryDict, self.data)))


class ImageFilterBackend(DjangoFilterBackend):
    """A form costs more than the query, so there is none where nothing is asked for."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        if request.query_params.keys().isdisjoint(ImageFilter.base_filters):
            return queryset
        return super().filter_queryset(request, queryset, view)


class UploadFilter(django_filters.FilterSet):
    state = django_filters.ChoiceFilter(choices=Upload.State.choices)

    class Meta:
        model = Upload
        fields = ["state"]


def narrowed(images: ImageQuerySet, parameters: QueryDict) -> ImageQuerySet:
    """The same filters for pages. Raises ValidationError."""
    chosen = ImageFilter(parameters, images)
    if not chosen.is_valid():
        raise ValidationError(chosen.errors)
    return cast(ImageQuerySet, chosen.qs)


def tags_of(parameters: QueryDict) -> list[str]:
    """All tags that are asked for, if the last of them is any: what stands for the form's field."""
    tags = [clean_tag(tag) for tag in parameters.getlist("tag")]
    if not (tags and tags[-1]):
        return []
    return [tag.replace("\0", ",") for tag in tags]  # no tag has either, and no column the first


def image_orders(parameters: QueryDict, owner: User) -> Orders:
    """The orders a list of present images may have. A search is only ordered by date: no index serves the others."""
    tags = tags_of(parameters)
    asked = [name for name in ImageFilter.base_filters if parameters.get(name, "").strip()]
    if len(tags) == 1 and asked == ["tag"]:
        return orders("-date", "date", index=ImageTag.objects.filter(owner=owner, tag=tags[0]))
    if tags or "q" in asked:
        return orders("-date", "date")
    return orders("-date", "date", "name", "-name", "size", "-size")
