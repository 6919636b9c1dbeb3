"""I8 is looked at over the whole run (`_no_secret_is_told`): here, that a secret would be found, and looked for."""

from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from media_api.models import ApiKey, SignInLink
from tests import pictures
from tests.conftest import client_of, store_down
from tests.listening import refusals, secrets_in
from tests.sending import send


def test_a_secret_would_be_found(alice: User) -> None:
    _, key = ApiKey.objects.mint(alice, scopes=["read"])
    for secret in (
        key,
        f"/login/{SignInLink.objects.mint(alice)}/",
        f"https://bucket.example/x?X-Amz-Signature={'0' * 64}",
        settings.SECRET_KEY,
        settings.S3_SECRET_ACCESS_KEY,
        "wonderland-7",
    ):
        assert secrets_in(f"before {secret} after")
    assert not secrets_in("sbx_[secret] /login/[secret]/ X-Amz-Signature=[secret]")


def test_no_refusal_has_a_secret(alice: User) -> None:
    signed = f"https://bucket.example/x?X-Amz-Signature={'0' * 64}"
    _, key = ApiKey.objects.mint(alice, scopes=["read"])
    before = len(refusals())
    for address in (f"/login/{SignInLink.objects.mint(alice)}x/", f"/api/v1/{key}", f"/{signed}"):
        Client().get(address, {"next": signed, "key": key})
    with store_down():
        assert send(client_of(alice), pictures.jpeg(), name=signed).status_code == 503
    assert len(refusals()) == before + 4
    assert [found for refusal in refusals() for found in secrets_in(refusal)] == []
