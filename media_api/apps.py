from django.apps import AppConfig


class MediaApiConfig(AppConfig):
    name = "media_api"
    verbose_name = "Images"

    def ready(self) -> None:
        from . import checks  # noqa: F401
