"""The API for people: its operations, and what each refusal means."""

from collections.abc import Iterator

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_safe
from drf_spectacular.views import SpectacularSwaggerSplitView

from media_api.authentication import BrowserSession
from media_api.exceptions import Refusal


@method_decorator(require_safe, name="dispatch")
class ApiPage(SpectacularSwaggerSplitView):
    authentication_classes = [BrowserSession]  # a page: whoever sends a key here is nobody
    url_name = "api:openapi"
    template_name = "web/api_docs.html"


@login_not_required
@require_safe
def errors(request: HttpRequest) -> HttpResponse:
    """Each code has an anchor: the `type` of a problem leads here."""
    refusals = sorted(all_refusals(Refusal), key=lambda refusal: (refusal.status, refusal.code))
    return render(request, "web/api_errors.html", {"refusals": refusals})


def all_refusals(base: type[Refusal]) -> Iterator[type[Refusal]]:
    for refusal in base.__subclasses__():
        if hasattr(refusal, "code"):
            yield refusal
        yield from all_refusals(refusal)
