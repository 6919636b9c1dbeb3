from django.http import HttpRequest, HttpResponse

from media_api.exceptions import Refusal


def error_page(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    return HttpResponse(refusal.detail, status=refusal.status)
