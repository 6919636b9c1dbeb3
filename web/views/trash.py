from datetime import timedelta

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from media_api import images
from media_api.pagination import orders, paginate
from media_api.throttles import require
from web.requests import SignedIn, own_images


@require_safe
def trash_page(request: SignedIn) -> HttpResponse:
    require(request, "list")
    trashed = own_images(request).trashed()
    context = {
        "page": paginate(trashed, request.GET.dict(), orders=orders("-date")),
        "count": trashed.count(),
        "lifetime": timedelta(seconds=settings.TRASH_LIFETIME),
    }
    return render(request, "web/trash.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def empty(request: SignedIn) -> HttpResponse:
    trashed = own_images(request).trashed()
    if request.method == "POST":
        count = images.delete(trashed)
        pictures = "1 picture was" if count == 1 else f"{count:,} pictures were"
        messages.success(request, f"{pictures} deleted for good.")
        return redirect("web:trash")
    if not (count := trashed.count()):
        return redirect("web:trash")
    return render(request, "web/empty_trash.html", {"count": count})
