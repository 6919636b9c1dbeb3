"""All pictures of the owner, narrowed and ordered by the address."""

from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from itertools import groupby

from django.db import OperationalError, connection, transaction
from django.http import HttpResponse, QueryDict
from django.shortcuts import render
from django.utils import timezone
from django.utils.formats import date_format
from django.views.decorators.http import require_safe
from psycopg.errors import QueryCanceled

from media_api.filters import CONTENT_TYPES, image_orders, narrowed
from media_api.models import Image, ImageQuerySet
from media_api.pagination import Orders, paginate
from media_api.throttles import require
from web.requests import SignedIn, own_images

ORDERS = {
    "-date": "Newest first",
    "date": "Oldest first",
    "name": "Name, A to Z",
    "-name": "Name, Z to A",
    "-size": "Largest first",
    "size": "Smallest first",
}
MAX_TAGS_OFFERED = 8
MOST_COUNTED = 10_000
PATIENCE = 100  # milliseconds


@require_safe
def gallery(request: SignedIn) -> HttpResponse:
    require(request, "list")
    images = narrowed(own_images(request).present(), request.GET)
    orders = image_orders(request.GET, request.user)
    order = chosen_order(request.GET, orders)
    page = paginate(images, request.GET.dict() | {"order": order}, orders=orders)
    tags = request.GET.getlist("tag")
    narrowing = {name: request.GET[name] for name in ("q", "type", "tag") if request.GET.get(name)}
    context = {
        "page": page,
        "groups": by_day(page.rows) if order in ("-date", "date") else [("", page.rows)],
        "count": count(images),
        "most_counted": MOST_COUNTED,
        "narrowing": narrowing,
        "types": CONTENT_TYPES,
        "type": request.GET.get("type", "").removeprefix("image/"),
        "tags": [(tag, [other for other in tags if other != tag]) for tag in tags],
        "tags_offered": [(tag, [*tags, tag]) for tag in common_tags(page.rows) if tag not in tags],
        "order": order,
        "orders": [(name, ORDERS[name]) for name in orders],
    }
    return render(request, "web/gallery.html", context)


def count(images: ImageQuerySet) -> int | None:
    """How many there are, up to MOST_COUNTED, if the database knows soon: it has to look at each, and at others too."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = %s", [PATIENCE])
            return images[:MOST_COUNTED].count()
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            return None
        raise


def chosen_order(parameters: QueryDict, orders: Orders) -> str:
    """The order that is asked for, if the list may have it: a search falls back to the newest first."""
    order = parameters.get("order", "")
    return order if order in orders else next(iter(orders))


def common_tags(images: Iterable[Image]) -> list[str]:
    """The most common tags of the pictures that are shown."""
    counted = Counter(tag for image in images for tag in image.tags)
    return [tag for tag, _ in counted.most_common(MAX_TAGS_OFFERED)]


def by_day(images: Iterable[Image]) -> list[tuple[str, list[Image]]]:
    today = timezone.localdate()
    days = groupby(images, lambda image: timezone.localdate(image.date))
    return [(day_name(day, today), list(rows)) for day, rows in days]


def day_name(day: date, today: date) -> str:
    if day == today:
        return "Today"
    if day == today - timedelta(days=1):
        return "Yesterday"
    return date_format(day, "l, j F" if day.year == today.year else "j F Y")
