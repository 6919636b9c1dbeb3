"""The addresses of a picture that people copy, in the forms that they need."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.urls import reverse
from django.utils.html import format_html

from media_api.links import original_link, rendition_link
from media_api.models import Image
from media_api.sides import fit


@dataclass(frozen=True)
class Form:
    """One text to copy. `kind` is `own` (who may see the picture signs in) or `open` (whoever has it sees it)."""

    kind: str
    syntax: str
    label: str
    text: str


@dataclass(frozen=True)
class Address:
    label: str
    width: int
    height: int
    forms: list[Form]


def addresses(image: Image) -> tuple[list[Address], datetime]:
    """One for each rendition and one for the original, and the moment that the open ones die."""
    found = [
        _address(
            str(side),
            image,
            fit(image.width, image.height, side),
            own_url(image, side),
            rendition_link(image, side).url,
        )
        for side in image.sides
    ]
    original = original_link(image)
    found.append(
        _address("Original", image, (image.width, image.height), own_url(image), original.url)
    )
    return found, original.expires_at


def own_url(image: Image, side: int | None = None) -> str:
    path = (
        reverse("web:original", args=[image.id])
        if side is None
        else reverse("web:rendition", args=[image.id, side])
    )
    return f"{settings.PUBLIC_URL}{path}"


def _address(label: str, image: Image, size: tuple[int, int], own: str, open_url: str) -> Address:
    width, height = size
    forms = [
        Form(kind, syntax, f"{label}, {title}", text)
        for kind, url in (("own", own), ("open", open_url))
        for syntax, title, text in (
            ("link", "link", url),
            ("markdown", "Markdown", f"![{_markdown(image.name)}]({url})"),
            ("html", "HTML", _html(image.name, url, width, height)),
        )
    ]
    return Address(label, width, height, forms)


def _markdown(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\[]<`" else c for c in text)


def _html(name: str, url: str, width: int, height: int) -> str:
    return str(
        format_html('<img src="{}" alt="{}" width="{}" height="{}">', url, name, width, height)
    )
