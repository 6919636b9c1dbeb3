"""`manage.py check`: settings and machines on which pictures would not be safe."""

from ipaddress import ip_network

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from media_api import checks, imaging, landlock, seccomp
from media_api.management.commands import procrastinate


def found() -> set[str | None]:
    """By a worker, which leaves out those of Django."""
    tags = procrastinate.Command.requires_system_checks
    return {message.id for message in run_checks(tags=tags)}


def test_uploads_need_an_identity_of_their_own(settings: Settings) -> None:
    settings.S3_UPLOAD_ACCESS_KEY_ID = "put-only"
    assert "media_api.E001" not in found()
    settings.S3_UPLOAD_ACCESS_KEY_ID = settings.S3_ACCESS_KEY_ID
    assert "media_api.E001" in found()
    settings.EMBEDDED = True  # its store has one identity, and does not obey x-amz-copy-source
    assert "media_api.E001" not in found()


def test_a_proxy_that_is_not_known_is_warned_of(settings: Settings) -> None:
    assert "media_api.W003" not in found()
    settings.PUBLIC_URL = "https://pictures.example"
    assert "media_api.W003" in found()
    settings.TRUSTED_PROXIES = [ip_network("10.0.0.1")]
    assert "media_api.W003" not in found()


def test_these_decoders_have_no_known_holes() -> None:
    assert set(imaging.versions()) == set(checks.FLOORS)
    assert "media_api.E002" not in found()


@pytest.mark.parametrize("version", ["1.3.1", "1.2.9", "0.9", ""])
def test_a_decoder_with_a_known_hole_is_named(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(imaging, "versions", lambda: {"webp": version})
    (message,) = checks.decoders_are_mended()
    assert message.msg.startswith("webp ")


@pytest.mark.parametrize(("net", "warning"), [(seccomp, "W001"), (landlock, "W002")])
def test_a_machine_without_a_net_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, net: object, warning: str
) -> None:
    assert f"media_api.{warning}" not in found()
    monkeypatch.setattr(net, "is_available", lambda: False)
    assert f"media_api.{warning}" in found()
