from django.apps import AppConfig


class MediaApiConfig(AppConfig):
    name = "media_api"
    verbose_name = "Images"
