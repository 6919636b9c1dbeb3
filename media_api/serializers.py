"""JSON, in and out. What comes in is a claim or a label; nothing else of an image can be set."""

import uuid
from datetime import datetime
from typing import Any

from django.conf import settings
from rest_framework import serializers

from .links import links_of
from .models import (
    CONTENT_TYPE,
    CONTENT_TYPE_LENGTH,
    MAX_TAGS,
    RENDITION_TYPE,
    TAG_LENGTH,
    ApiKey,
    Image,
    ListedImage,
    Upload,
    clean_name,
    clean_tag,
    database_now,
)
from .sides import fit
from .storage import Link
from .uploads import Announcement

MAX_IDS = 1000


# --- in -------------------------------------------------------------------------------------------


class NameField(serializers.CharField):
    """A label: normalised and cut rather than refused."""

    def to_internal_value(self, value: Any) -> str:
        return clean_name(super().to_internal_value(value))


class TagsField(serializers.ListField):
    """Up to 32 different tags of up to 64 characters; a comma divides them on pages, so none has one."""

    def __init__(self, **options: Any) -> None:
        child = serializers.CharField(max_length=TAG_LENGTH)
        super().__init__(child=child, max_length=MAX_TAGS, **options)

    def to_internal_value(self, value: Any) -> list[str]:
        tags = [clean_tag(tag) for tag in super().to_internal_value(value)]
        if any("," in tag or not tag.isprintable() for tag in tags):
            raise serializers.ValidationError("A tag has no comma and no control character.")
        return list(dict.fromkeys(filter(None, tags)))


class LabelsSerializer(serializers.Serializer[Any]):
    """What may be changed of an image."""

    name = NameField(required=False)
    tags = TagsField(required=False)


class FileSerializer(LabelsSerializer):
    """A file in a form, and its labels."""

    file = serializers.FileField(allow_empty_file=True)


class AnnouncementSerializer(serializers.Serializer[Any]):
    name = NameField()
    size = serializers.IntegerField(min_value=0)
    content_type = serializers.RegexField(f"^{CONTENT_TYPE}$", max_length=CONTENT_TYPE_LENGTH)
    sha256 = serializers.RegexField(r"^[0-9a-f]{64}$", required=False)
    tags = TagsField(required=False)

    def announcement(self) -> Announcement:
        return Announcement(**self.validated_data)


class PartNumbersSerializer(serializers.Serializer[Any]):
    numbers = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=10_000), max_length=10_000
    )


class IdsSerializer(serializers.Serializer[Any]):
    """Ids as text: what is not an id of an image is answered `not_found` like any other."""

    ids = serializers.ListField(
        child=serializers.CharField(max_length=36), min_length=1, max_length=MAX_IDS
    )

    def uuids(self) -> dict[str, uuid.UUID | None]:
        return {text: _uuid(text) for text in self.validated_data["ids"]}


class TagChangesSerializer(IdsSerializer):
    add = TagsField(required=False, default=list)
    remove = TagsField(required=False, default=list)


class LinksRequestSerializer(IdsSerializer):
    side = serializers.IntegerField(min_value=1, required=False, default=None)


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


# --- out ------------------------------------------------------------------------------------------


class LinkSerializer(serializers.Serializer[Any]):
    url = serializers.URLField()
    expires_at = serializers.DateTimeField()


class RenditionSerializer(LinkSerializer):
    side = serializers.IntegerField()
    width = serializers.IntegerField()
    height = serializers.IntegerField()
    content_type = serializers.CharField()


def page_of(image_id: uuid.UUID) -> str:
    return f"{settings.PUBLIC_URL}/images/{image_id}/"


class ImageSerializer(serializers.ModelSerializer[Image]):
    """An image with its links. The fields are declared for documentation: `representation` writes them."""

    original = LinkSerializer(read_only=True)
    renditions = RenditionSerializer(many=True, read_only=True)
    page = serializers.URLField(read_only=True)

    class Meta:
        model = Image
        fields = [
            "id",
            "name",
            "path",
            "size",
            "date",
            "content_type",
            "width",
            "height",
            "frames",
            "sha256",
            "tags",
            "placeholder",
            "trashed_at",
            "damaged_at",
            "original",
            "renditions",
            "page",
        ]
        read_only_fields = fields

    def to_representation(self, image: Any) -> dict[str, Any]:
        return representation(image)


def representation(image: Image | ListedImage) -> dict[str, Any]:
    """Plain values. A link is arithmetic: no list asks the bucket."""
    original, renditions = links_of(image)
    width, height = image.width, image.height
    return {
        "id": image.id,
        "name": image.name,
        "path": image.path,
        "size": image.size,
        "date": image.date,
        "content_type": image.content_type,
        "width": width,
        "height": height,
        "frames": image.frames,
        "sha256": image.sha256,
        "tags": image.tags,
        "placeholder": image.placeholder,
        "trashed_at": image.trashed_at,
        "damaged_at": image.damaged_at,
        "original": original._asdict(),
        "renditions": [
            rendition(side, fit(width, height, side), link)
            for side, link in zip(image.sides, renditions, strict=True)
        ],
        "page": page_of(image.id),
    }


def rendition(side: int, size: tuple[int, int], link: Link) -> dict[str, Any]:
    width, height = size
    return {
        "side": side,
        "width": width,
        "height": height,
        "content_type": RENDITION_TYPE,
        "url": link.url,
        "expires_at": link.expires_at,
    }


class ImageDetailSerializer(ImageSerializer):
    duplicates = serializers.ListField(child=serializers.UUIDField(), read_only=True)

    class Meta(ImageSerializer.Meta):
        fields = [*ImageSerializer.Meta.fields, "duplicates"]
        read_only_fields = fields

    def to_representation(self, image: Image) -> dict[str, Any]:
        copies = Image.objects.copies_of(image).values_list("id", flat=True)
        return super().to_representation(image) | {"duplicates": list(copies[:20])}


class UploadErrorSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    detail = serializers.CharField()


class UploadSerializer(serializers.ModelSerializer[Upload]):
    """An upload that is not an image (yet). The fields are declared for documentation, as an image's are."""

    error = UploadErrorSerializer(read_only=True, allow_null=True)
    page = serializers.URLField(read_only=True)

    class Meta:
        model = Upload
        fields = [
            "id",
            "state",
            "name",
            "tags",
            "size",
            "content_type",
            "part_size",
            "created_at",
            "expires_at",
            "error",
            "page",
        ]
        read_only_fields = fields

    def to_representation(self, upload: Upload) -> dict[str, Any]:
        return fields_of(upload)


def fields_of(upload: Upload) -> dict[str, Any]:
    """Plain values of an upload."""
    error = {"code": upload.error_code, "detail": upload.error_detail}
    return {
        "id": upload.id,
        "state": upload.state,
        "name": upload.name,
        "tags": upload.tags,
        "size": upload.size,
        "content_type": upload.content_type,
        "part_size": upload.part_size,
        "created_at": upload.created_at,
        "expires_at": upload.expires_at,
        "error": error if upload.error_code else None,
        "page": f"{settings.PUBLIC_URL}/uploads/{upload.id}/",
    }


class PartSerializer(serializers.Serializer[Any]):
    """A part to be sent (`url`, `headers`), or one that has arrived (`size` in bytes)."""

    number = serializers.IntegerField()
    url = serializers.URLField(required=False)
    headers = serializers.DictField(child=serializers.CharField(), required=False)
    size = serializers.IntegerField(required=False)


class UploadDetailSerializer(UploadSerializer):
    """With what the client needs to send the bytes, or with the image once it is kept. For documentation only:
    the views put it together."""

    method = serializers.CharField(required=False)
    url = serializers.URLField(required=False)
    headers = serializers.DictField(child=serializers.CharField(), required=False)
    parts = PartSerializer(many=True, required=False)
    image = ImageSerializer(required=False)

    class Meta(UploadSerializer.Meta):
        fields = [*UploadSerializer.Meta.fields, "method", "url", "headers", "parts", "image"]
        read_only_fields = fields


class ResultSerializer(serializers.Serializer[Any]):
    """What became of one of many: the HTTP status that it alone would have got, and the code of a refusal."""

    id = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(required=False)
    url = serializers.URLField(required=False)
    expires_at = serializers.DateTimeField(required=False)


class ResultsSerializer(serializers.Serializer[Any]):
    results = ResultSerializer(many=True)


class AccountSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    used = serializers.IntegerField(help_text="Bytes of originals and of uploads under way.")
    quota = serializers.IntegerField(allow_null=True, help_text="Bytes, or null for no limit.")
    images = serializers.IntegerField()
    uploads = serializers.IntegerField()
    trash = serializers.IntegerField()


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    id = serializers.CharField(read_only=True)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=ApiKey.Scope.choices), min_length=1
    )

    class Meta:
        model = ApiKey
        fields = ["id", "name", "prefix", "scopes", "created_at", "expires_at", "last_used_at"]
        read_only_fields = ["id", "prefix", "created_at", "last_used_at"]

    def validate_expires_at(self, moment: datetime | None) -> datetime | None:
        if moment is not None and moment <= database_now():
            raise serializers.ValidationError("It lies in the past.")
        return moment


class NewApiKeySerializer(ApiKeySerializer):
    """The only answer that has the secret."""

    key = serializers.CharField(read_only=True)

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]
