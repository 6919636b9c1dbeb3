"""One picture: look at it, change its labels, put it into the trash and take it out, delete it."""

import uuid

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from media_api import images
from media_api.filters import image_orders, narrowed
from media_api.links import redirect_to_content
from media_api.models import Image
from media_api.pagination import Cursor, paginate
from media_api.throttles import require
from web.addresses import addresses
from web.forms import LabelsForm
from web.requests import SignedIn, own_image, own_images

from .gallery import chosen_order

MAX_COPIES = 20


@require_safe
def image_page(request: SignedIn, image_id: uuid.UUID) -> HttpResponse:
    image = own_image(request, image_id)
    found, until = addresses(image)
    context = {
        "image": image,
        "addresses": found,
        "until": until,
        "copies": Image.objects.copies_of(image)[:MAX_COPIES],
        "previous": None if image.trashed_at else neighbour(request, image, back=True),
        "next": None if image.trashed_at else neighbour(request, image, back=False),
    }
    return render(request, "web/image.html", context)


def neighbour(request: SignedIn, image: Image, *, back: bool) -> Image | None:
    """The picture beside this one in the gallery that it was opened from, whose query stands in the address."""
    orders = image_orders(request.GET, request.user)
    order = chosen_order(request.GET, orders)
    cursor = Cursor.at(image, order, back=back).encode()
    beside = paginate(
        narrowed(own_images(request).present(), request.GET),
        {"order": order, "cursor": cursor, "limit": "1"},
        orders=orders,
    )
    return beside.rows[0] if beside.rows else None


@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: SignedIn, image_id: uuid.UUID) -> HttpResponse:
    image = own_image(request, image_id)
    if image.trashed_at:
        messages.warning(request, f"{image.name} is in the trash. Restore it before you change it.")
        return redirect("web:image", image.id)
    form = LabelsForm(request.POST or None, initial={"name": image.name, "tags": image.tags})
    if form.is_valid():
        images.change(image, **form.cleaned_data)
        messages.success(request, "Saved.")
        return redirect("web:image", image.id)
    context = {"image": image, "form": form}
    return render(request, "web/edit.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: SignedIn, image_id: uuid.UUID) -> HttpResponse:
    """Asks which of the two is meant. What can be undone needs no answer: the image page sends `trash` at once."""
    image = own_image(request, image_id)
    one = own_images(request).filter(id=image.id)
    match request.POST.get("how"):
        case "trash":
            images.trash(one)
            undo = reverse("web:restore", args=[image.id])
            messages.success(request, f"{image.name} is in the trash.", extra_tags=undo)
        case "permanent":
            images.delete(one)
            messages.success(request, f"{image.name} was deleted for good.")
            if image.trashed_at:
                return redirect("web:trash")
        case _:
            return render(request, "web/delete.html", {"image": image})
    return redirect("web:gallery")


@require_POST
def restore(request: SignedIn, image_id: uuid.UUID) -> HttpResponseRedirect:
    image = own_image(request, image_id)
    images.restore(own_images(request).filter(id=image.id))
    messages.success(request, f"{image.name} is back in the gallery.")
    return redirect("web:image", image.id)


@require_safe
def content(
    request: SignedIn, image_id: uuid.UUID, side: int | None = None, *, stripped: bool = False
) -> HttpResponseRedirect:
    require(request, "links")
    image = own_image(request, image_id)
    download = request.GET.get("download") in ("true", "1")
    return redirect_to_content(image, side=side, stripped=stripped, download=download)
