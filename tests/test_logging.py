"""What is written down: a request and an upload can be followed by their ids, and no line has a secret."""
import json, logging, re
from io import StringIO
from collections.abc import Callable, Iterator
from typing import Any
import pytest
import structlog
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.test import Client
from django.urls import path
from rest_framework.test import APIClient
from structlog.stdlib import ProcessorFormatter

from media_api.models import ApiKey, SignInLink
from media_api.storage import ImageStorage
from project import urls
from project.logging import logging_config
from tests import pictures
from tests.conftest import Work, client_of, store_down
from tests.sending import API, announce, complete, path_of, put, read, refusal, send, send_directly

class Log:
    def __init__(self): self.text=StringIO()
    def lines(self): return [json.loads(l) for l in self.text.getvalue().splitlines()]

@pytest.fixture
def log():
    config=logging_config("DEBUG","json")["formatters"]["structured"]
    log=Log()
    handler=logging.StreamHandler(log.text)
    handler.setFormatter(ProcessorFormatter(**{k:v for k,v in config.items() if k!="()"}))
    root=logging.getLogger()
    root.addHandler(handler); before=root.level; root.setLevel(logging.DEBUG)
    yield log
    root.removeHandler(handler); root.setLevel(before)

def test_x(api, alice, work, log):
    a=send(api, pictures.jpeg()); print(dict(a.headers)); work()
    u=send_directly(api, b"nope", name="x"); work()
    with store_down():
        send(api, pictures.jpeg())
    c=Client()
    t=SignInLink.objects.mint(alice)
    c.get(f"/login/{t}/"); print(c.post(f"/login/{t}/").status_code)
    c.get("/livez"); c.get("/readyz"); c.get("/metrics"); c.get("/")
    APIClient().get(f"{API}/images", HTTP_AUTHORIZATION="Bearer sbx_abc_hello")
    print(log.text.getvalue())
