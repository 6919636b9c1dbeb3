"""Sending pictures through the plain form, and what became of what was sent."""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import BinaryIO, cast

from django.conf import settings
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.db.models.functions import Now
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from media_api import uploads
from media_api.exceptions import Refusal, StorageUnavailable
from media_api.models import Upload, clean_name
from media_api.pagination import orders, paginate
from media_api.throttles import require
from media_api.uploads import Announcement
from web.requests import SignedIn, own_images

MAX_FILES = 20
JUST_NOW = timedelta(minutes=10)


@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: SignedIn) -> HttpResponse:
    files = request.FILES.getlist("file")
    if files:
        receive_each(request, files)
        return redirect("web:uploads")
    context = {
        "max_files": MAX_FILES,
        "max_size": settings.MAX_UPLOAD_SIZE,
        "error": "Choose at least one picture." if request.method == "POST" else "",
    }
    return render(request, "web/upload.html", context, status=422 if context["error"] else 200)


def receive_each(request: SignedIn, files: "Sequence[UploadedFile[bytes]]") -> None:
    """Each file is an upload of its own: what is wrong with one is told, and the others are taken."""
    taken, down = 0, False
    for number, file in enumerate(files):
        name = clean_name(file.name or "")
        if number >= MAX_FILES:
            refuse(
                request, name, f"One form takes {MAX_FILES} pictures. Send it with the next form."
            )
        elif down:
            refuse(request, name, StorageUnavailable.sentence)
        else:
            try:
                receive(request, file, name)
                taken += 1
            except Refusal as refusal:
                refuse(request, name, refusal.detail)
                down = isinstance(refusal, StorageUnavailable)
    if taken:
        pictures = "1 picture has" if taken == 1 else f"{taken} pictures have"
        messages.success(request, f"{pictures} arrived.")


def receive(request: SignedIn, file: "UploadedFile[bytes]", name: str) -> None:
    require(request, "announce")
    content_type = file.content_type or "application/octet-stream"
    announcement = Announcement(name=name, size=file.size or 0, content_type=content_type)
    uploads.receive(request.user, cast(BinaryIO, file), announcement)


def refuse(request: SignedIn, name: str, sentence: str) -> None:
    messages.error(request, f"{name} was not kept. {sentence}")


@require_safe
def uploads_page(request: SignedIn) -> HttpResponse:
    require(request, "list")
    own = Upload.objects.of(request.user)
    page = paginate(own, request.GET.dict(), orders=orders("-created_at"))
    kept = own_images(request).present().filter(date__gt=Now() - JUST_NOW)
    context = {
        "page": page,
        "is_waiting": any(upload.is_waiting for upload in page.rows),
        "kept": kept.order_by("-date", "-id")[:MAX_FILES],
    }
    return render(request, "web/uploads.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def upload_page(request: SignedIn, upload_id: uuid.UUID) -> HttpResponse:
    """An upload that is kept by now has become its image."""
    if own_images(request).filter(id=upload_id).exists():
        return redirect("web:image", upload_id)
    upload = get_object_or_404(Upload.objects.of(request.user), id=upload_id)
    if request.method == "POST":
        uploads.withdraw(upload)
        messages.success(request, f"{upload.name} was withdrawn. Nothing of it is kept.")
        return redirect("web:uploads")
    context = {"upload": upload, "is_waiting": upload.is_waiting}
    return render(request, "web/upload_state.html", context)
