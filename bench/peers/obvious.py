"""The obvious service: a model with a FileField in the bucket, a serializer, a view set. The first page of a tutorial.

Django REST framework and django-storages with their defaults, one presigned URL for each row, pages by LIMIT and
OFFSET, nobody has to sign in. What is set is only what presigning needs to be right (Signature Version 4).
Any WSGI server runs `bench.peers.obvious:application`; DATABASE_URL and S3_* lead to the services.
"""

import os
from typing import Any

import django
from django.conf import settings
from environ import Env

settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": Env().db_url("DATABASE_URL") | {"CONN_MAX_AGE": 600}},
    INSTALLED_APPS=["rest_framework"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    STORAGES={
        "default": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                "endpoint_url": os.environ["S3_ENDPOINT_URL"],
                "bucket_name": "shoebox",
                "access_key": os.environ["S3_ACCESS_KEY_ID"],
                "secret_key": os.environ["S3_SECRET_ACCESS_KEY"],
                "region_name": "us-east-1",
                "addressing_style": "path",
                "signature_version": "s3v4",
            },
        }
    },
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "UNAUTHENTICATED_USER": None,
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
        "PAGE_SIZE": 50,
    },
)
django.setup()

from django.core.wsgi import get_wsgi_application
from django.db import models
from rest_framework import routers, serializers, viewsets


class Picture(models.Model):
    name = models.CharField(max_length=255)
    file = models.FileField(upload_to="pictures/", max_length=255)
    size = models.BigIntegerField()
    date = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "obvious"
        db_table = "obvious_picture"
        ordering = ["-date"]
        indexes = [models.Index(fields=["date"], name="obvious_date")]

    def __str__(self) -> str:
        return self.name


class PictureSerializer(serializers.ModelSerializer[Picture]):
    class Meta:
        model = Picture
        fields = ["id", "name", "file", "size", "date"]
        read_only_fields = ["name", "size"]

    def create(self, validated_data: Any) -> Picture:
        file = validated_data["file"]
        return super().create(validated_data | {"name": file.name, "size": file.size})


class PictureViewSet(viewsets.ModelViewSet[Picture]):
    queryset = Picture._default_manager.all()
    serializer_class = PictureSerializer


router = routers.SimpleRouter()
router.register("pictures", PictureViewSet)
urlpatterns = router.urls
application = get_wsgi_application()
