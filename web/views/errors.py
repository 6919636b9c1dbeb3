"""Refusals as pages. They must work when the database does not: no query, no session, no signed-in user."""

from typing import NamedTuple

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from media_api.exceptions import QuotaExceeded, Refusal
from media_api.problems import headers_of
from web.views.uploads import MAX_FILES


class Words(NamedTuple):
    """What happened, whether something was lost, what to do. An empty sentence is the refusal's own."""

    title: str
    sentence: str
    advice: str
    action: str = "Go to the gallery"
    address: str = "/"


UPLOAD_LIMIT = f"One form takes up to {MAX_FILES} pictures of up to {settings.MAX_UPLOAD_SIZE / 1e6:,.0f} MB each."
NO_ROOM = Words(
    "There is no room for that",
    "It is more than what is left of your account's quota. The trash counts too.",
    "Nothing of it was kept. Choose fewer or smaller pictures, or empty the trash first.",
    "See what is used",
    "/account/",
)
WORDS = {
    400: Words(
        "This could not be read", "", "Nothing was changed. Go back and try again, with less."
    ),
    403: Words(
        "This form is too old",
        "It was open for too long, you signed in elsewhere meanwhile, or cookies are off.",
        "Nothing was changed. Go back, reload the page and send it again.",
    ),
    404: Words(
        "There is nothing here",
        "The address may be wrong, or what was here was deleted, or it is not yours.",
        "Nothing was changed.",
    ),
    405: Words(
        "This address is not for opening",
        "It takes what a form sends, and nothing else.",
        "Nothing was changed.",
    ),
    408: Words(
        "That came too slowly",
        "The connection may be weak, or something on the way held it up.",
        "Nothing of it was kept. Go back and send it again, with less at once.",
    ),
    413: Words(
        "That is too much at once",
        UPLOAD_LIMIT,
        "Nothing of it was kept. Choose fewer or smaller pictures.",
        "Choose again",
        "/upload/",
    ),
    422: Words(
        "This address says something unknown",
        "A filter, an order or a page in it is not one of ours.",
        "Nothing was changed.",
    ),
    429: Words("Please wait a little", "", "Nothing was changed.", "Try again", ""),
    500: Words(
        "Something went wrong here",
        "It is a fault of ours, and it was written down.",
        "What was kept before is still there. Try again; if it stays, tell whoever runs this service the number below.",
    ),
    503: Words("Not available at the moment", "", "", "Try again", ""),
}
OTHERS = Words("That was not done", "", "Nothing was changed.")


def error_page(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    words = NO_ROOM if isinstance(refusal, QuotaExceeded) else WORDS.get(refusal.status, OTHERS)
    context = {
        "words": words,
        "sentence": words.sentence or refusal.detail,
        "address": words.address or request.path,
        "status": refusal.status,
        "request_id": structlog.contextvars.get_contextvars().get("request_id", ""),
    }
    body = render_to_string("web/error.html", context)
    return HttpResponse(body, status=refusal.status, headers=headers_of(refusal))
