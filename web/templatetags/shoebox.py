"""How sizes, moments and pictures are written on pages."""

from datetime import datetime, timedelta
from typing import Any

from django import template
from django.conf import settings
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from media_api.links import original_link, rendition_link
from media_api.models import Image
from media_api.sides import fit

register = template.Library()

KINDS = {"jpeg": "JPEG", "png": "PNG", "webp": "WebP", "gif": "GIF", "avif": "AVIF"}
ROW_HEIGHT = 220
NARROWEST, WIDEST, STEP = 50, 300, 5


@register.filter
def filesize(size: int) -> str:
    """Powers of ten, three digits: 482 kB, 1.24 MB."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    number = float(size)
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop(0)
    digits = 0 if units[0] == "bytes" or number >= 99.95 else 1
    return f"{number:,.{digits}f} {units[0]}"


@register.filter
def number(count: int) -> str:
    return f"{count:,}"


@register.filter
def moment(then: datetime) -> SafeString:
    """How long ago within a day, else the date; exactly in the title."""
    local = timezone.localtime(then)
    exact = f"{date_format(local, 'j F Y, H:i:s')} {local.tzname()}"
    age = timezone.now() - then
    if age < timedelta(minutes=1):
        words = "just now"
    elif age < timedelta(days=1):
        words = f"{timesince(then, depth=1)} ago"
    else:
        words = date_format(local, "j F Y")
    return format_html('<time datetime="{}" title="{}">{}</time>', then.isoformat(), exact, words)


@register.filter
def clock(then: datetime) -> SafeString:
    """The time of day, for what is near."""
    local = timezone.localtime(then)
    words = f"{date_format(local, 'H:i')} {local.tzname()}"
    return format_html('<time datetime="{}">{}</time>', then.isoformat(), words)


@register.filter
def days_left(then: datetime, lifetime: timedelta) -> str:
    days = round((then + lifetime - timezone.now()) / timedelta(days=1))
    return "within a day" if days < 1 else "in 1 day" if days == 1 else f"in {days} days"


@register.filter
def kind(content_type: str) -> str:
    short = content_type.removeprefix("image/")
    return KINDS.get(short, short)


@register.simple_tag
def public_url() -> str:
    return str(settings.PUBLIC_URL)


def shape(image: Image) -> int:
    """Width in hundredths of the height, in the steps that shapes.css knows: no style stands in a page."""
    hundredths = round(100 * image.width / image.height / STEP) * STEP
    return min(max(hundredths, NARROWEST), WIDEST)


def srcset(image: Image, *, largest: int) -> str:
    sides = [side for side in image.sides if side <= largest] or image.sides[:1]
    return ", ".join(
        f"{rendition_link(image, side).url} {fit(image.width, image.height, side)[0]}w"
        for side in sides
    )


@register.inclusion_tag("web/parts/tile.html")
def tile(image: Image, address: str) -> dict[str, Any]:
    """A picture in the gallery: a link in a box of its shape."""
    hundredths = shape(image)
    return {
        "image": image,
        "address": address,
        "shape": f"shape-{hundredths}",
        "src": rendition_link(image, 320).url,
        "srcset": srcset(image, largest=1280),
        "sizes": f"{hundredths * ROW_HEIGHT // 80}px",
    }


@register.inclusion_tag("web/parts/stage.html")
def stage(image: Image) -> dict[str, Any]:
    """A picture as large as there is room. An animation plays, which only the original does."""
    if image.frames > 1:
        return {"image": image, "src": original_link(image).url}
    return {
        "image": image,
        "src": rendition_link(image, 1280).url,
        "srcset": srcset(image, largest=2560),
        "sizes": f"(min-width: {image.width}px) {image.width}px, 100vw",
    }


@register.inclusion_tag("web/parts/thumb.html")
def thumb(image: Image) -> dict[str, Any]:
    return {"image": image, "src": rendition_link(image, 320).url}


@register.simple_block_tag
def terminal(content: SafeString) -> SafeString:
    """The same thing with curl."""
    return format_html(
        '<details class="terminal"><summary>From a terminal</summary>'
        '<div class="command"><pre tabindex="0"><code>{}</code></pre>'
        '<button type="button" class="quiet" data-copy hidden>Copy</button></div></details>',
        content,
    )
