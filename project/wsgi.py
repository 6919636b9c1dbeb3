import os
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

from media_api.waiters import waiters
from project.bodies import patient  # they read the settings


class Request(WSGIRequest):
    """Everything that is sent here is UTF-8. The charset of a Content-Type may name any codec of Python, and Django
    would decode the query with it, outside of all that handles errors."""

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        self.content_type, self.content_params = parse_header_parameters(
            meta.get("CONTENT_TYPE", "")
        )


class Handler(WSGIHandler):
    request_class = Request


django.setup(set_prefix=False)
waiters.limit(max(1, settings.WEB_THREADS // 2))
application = patient(Handler())
