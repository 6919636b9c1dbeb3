from django.apps import AppConfig


class MediaApiConfig(AppConfig):
    name = "media_api"
    verbose_name = "Images"

    def ready(self) -> None:
        from django.conf import settings

        from . import (
            checks,  # noqa: F401
            faults,
        )

        faults.folder = faults.folder_of(settings.FAULTS, debug=settings.DEBUG)
