"""What must hold of settings and machine: Django asks before a command runs, `manage.py check` at any time."""

import re
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from . import faults, landlock, seccomp

TAG = "shoebox"  # by which a worker asks for ours alone
DECODERS = "media_api.E002"

# The oldest library of each kind in which no hole is known that a picture could use, and the last one that was mended.
FLOORS = {
    "pil": "13.0",  # 2 of the 19 holes of 2026 lie in formats that are taken here
    "libjpeg_turbo": "3.0",  # CVE-2023-2804
    "zlib": "1.2.13",  # CVE-2022-37434
    "webp": "1.3.2",  # CVE-2023-4863
    "avif": "1.3.0",  # CVE-2025-48174, CVE-2025-48175
    "littlecms2": "2.10",  # CVE-2018-16435
}


@register(TAG)
def identities_differ(**_: Any) -> list[CheckMessage]:
    """The embedded store has only one identity, and refuses what a stronger one would allow elsewhere."""
    if settings.EMBEDDED or settings.S3_UPLOAD_ACCESS_KEY_ID != settings.S3_ACCESS_KEY_ID:
        return []
    return [
        Error(
            "Uploads are signed by the identity that can read all pictures.",
            hint="On some stores an upload URL then copies other people's pictures. Give S3_UPLOAD_ACCESS_KEY_ID an "
            "identity that may only put objects under staging/ (minio/upload.json).",
            id="media_api.E001",
        )
    ]


@register(TAG)
def decoders_are_mended(**_: Any) -> list[CheckMessage]:
    from . import imaging  # and with it Pillow, which no web process loads

    return [
        Error(
            f"{name} {version or '(unknown version)'} has known holes that a picture can use.",
            hint=f"Install Pillow as uv.lock has it, or at least {name} {FLOORS[name]}.",
            id=DECODERS,
        )
        for name, version in imaging.versions().items()
        if _numbers(version) < _numbers(FLOORS[name])
    ]


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


@register(TAG)
def faults_are_for_tests(**_: Any) -> list[CheckMessage]:
    if not settings.FAULTS or faults.folder:
        return []
    return [
        Error(
            "FAULTS is set, which lets a test kill this service.",
            hint="Take it away; tests that mean it put a file of the name "
            f"{faults.TEST_RUN} into that folder.",
            id="media_api.E003",
        )
    ]


@register(TAG)
def proxies_are_known(**_: Any) -> list[CheckMessage]:
    """Something ends TLS in front of us, and everybody seems to come from there."""
    if settings.TRUSTED_PROXIES or not settings.PUBLIC_URL.startswith("https:"):
        return []
    return [
        Warning(
            "All clients seem to have the address of the proxy: limits for an address hold for all of them together.",
            hint="Set TRUSTED_PROXIES to the address of the proxy as this service sees it (docs/configure.md).",
            id="media_api.W003",
        )
    ]


NETS = {
    "media_api.W001": (seccomp, "no seccomp filters", "call the system as the worker can"),
    "media_api.W002": (landlock, "no Landlock", "open files if it got past the filter"),
}


@register(TAG)
def decoders_are_caged(**_: Any) -> list[CheckMessage]:
    """Warnings: without these nets there are still limits of memory, time and output (`cage`)."""
    return [
        Warning(
            f"This system has {missing}: a decoder that was taken over could {reach}.",
            hint="Run the worker on Linux, with a kernel and in a container that allow it.",
            id=identifier,
        )
        for identifier, (net, missing, reach) in NETS.items()
        if not net.is_available()
    ]
